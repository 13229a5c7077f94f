// Package roster reads rosters: tables of people and groups, as CSV, JSONL or a
// sheet of an Excel workbook, row by row, in memory that does not grow with the
// file. It may be packed by gzip or zstd. A CSV file may be in one of several
// encodings, and its fields separated in one of several ways: in those in which
// the header has all columns.
//
// Each row comes in two forms, made once: the typed value, for the call to be
// made of it, and its text as written, for the way out. A row that cannot be
// used is not an error of the file: it is delivered like any other, with its
// line number, its text and the reason, and reading goes on. So the rows of a
// file are exactly its lines that are not blank, whatever stands in them. The
// text of a row is bytes of the file, as they are also where nobody can read
// them; of a sheet, it is its cells, as [chatbatch/io/workbook.Join] has them.
//
// What failed can be read again: the reserved columns that a file of failed
// rows carries at its end (see [Reserved]) are cut from the header and from
// each row, so that a row is again what its author wrote.
//
// The package refuses to guess. A mark is digits and nothing else, an account
// is a string also when it looks like a number, a field does not run over
// several lines, and a header with a missing or a doubled column is a
// [HeaderError] that says how it was read. An ID whose encoding is not certain
// is not used, see [EncodingError].
package roster
