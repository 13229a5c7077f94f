package export_test

import (
	"fmt"
	"log"
	"os"
	"path/filepath"

	"chatbatch/io/export"
)

func ExampleCreate() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "members.csv")
	format, err := export.FormatOf(path)
	if err != nil {
		log.Fatal(err)
	}
	w, err := export.Create(path, format, export.Options{Columns: []string{"group_id", "account", "NameCard"}})
	if err != nil {
		log.Fatal(err)
	}
	defer w.Discard()
	for _, row := range [][]string{{"@TGS#1", "00123", "Ann, of 3b"}, {"@TGS#1", "00124", ""}} {
		if err := w.Cells(row); err != nil {
			log.Fatal(err)
		}
	}
	sum, err := w.Close()
	if err != nil {
		log.Fatal(err)
	}
	text, _ := os.ReadFile(path)
	fmt.Printf("%s%d rows, %d bytes\n", text, sum.Rows, sum.Bytes)
	// Output:
	// group_id,account,NameCard
	// @TGS#1,00123,"Ann, of 3b"
	// @TGS#1,00124,
	// 2 rows, 66 bytes
}
