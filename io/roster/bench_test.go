package roster

import (
	"bytes"
	"encoding/csv"
	"io"
	"runtime"
	"strconv"
	"testing"
)

// endless is a file of n rows that is made while it is read.
type endless struct {
	head []byte
	body []byte // a number of rows
	rows int    // in body
	n    int    // rows left
	rest []byte
}

func (e *endless) Read(p []byte) (int, error) {
	if len(e.rest) == 0 {
		switch {
		case e.head != nil:
			e.rest, e.head = e.head, nil
		case e.n <= 0:
			return 0, io.EOF
		default:
			e.rest, e.n = e.body, e.n-e.rows
		}
	}
	n := copy(p, e.rest)
	e.rest = e.rest[n:]
	return n, nil
}

const benchBlock = 1000

func benchCSV(n int, tail string) *endless {
	var b bytes.Buffer
	for i := range benchBlock {
		b.WriteString("@TGS#2J4SZEAEL,user" + strconv.Itoa(10000000+i))
		if i%2 == 0 {
			b.WriteString(",1000" + tail + "\n")
		} else {
			b.WriteString(`,"1000,1001"` + tail + "\n")
		}
	}
	head := header
	if tail != "" {
		head = header[:len(header)-1] + "," + reservedHeader + "\n"
	}
	return &endless{head: []byte(head), body: b.Bytes(), rows: benchBlock, n: n}
}

func benchJSONL(n int) *endless {
	var b bytes.Buffer
	for i := range benchBlock {
		b.WriteString(`{"group_id":"@TGS#2J4SZEAEL","account":"user` + strconv.Itoa(10000000+i) + `","marks":[1000,1001]}` + "\n")
	}
	return &endless{body: b.Bytes(), rows: benchBlock, n: n}
}

func benchmark(b *testing.B, file func(n int) *endless, format Format) {
	b.Run("side by side", func(b *testing.B) { benchmarkWidth(b, file, format, newLimits().width) })
	b.Run("in turn", func(b *testing.B) { benchmarkWidth(b, file, format, 1) })
}

func benchmarkWidth(b *testing.B, file func(n int) *endless, format Format, width int) {
	b.ReportAllocs()
	rows, peak := 0, uint64(0)
	n := (b.N + benchBlock - 1) / benchBlock * benchBlock
	r, err := Open[mark](file(n), Options{Format: format})
	if err != nil {
		b.Fatal(err)
	}
	r.limits.width = width
	b.ResetTimer()
	for row, err := range r.Rows() {
		if err != nil || row.Err != nil {
			b.Fatal(err, row.Err)
		}
		if rows++; rows%1_000_000 == 0 {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapSys)
		}
	}
	b.StopTimer()
	if rows != n {
		b.Fatalf("got %d rows, want %d", rows, n)
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "rows/s")
	b.ReportMetric(float64(peak)/(1<<20), "heap-MiB")
}

func BenchmarkCSV(b *testing.B) {
	benchmark(b, func(n int) *endless { return benchCSV(n, "") }, CSV)
}

func BenchmarkCSVFedBack(b *testing.B) {
	benchmark(b, func(n int) *endless { return benchCSV(n, `,5,refused,10004,"no, ""never""",3,20261122T014912Z-4f2a9c`) }, CSV)
}

// BenchmarkEncodingCSV is the measure for a busy machine: the same file, read
// without decoding.
func BenchmarkEncodingCSV(b *testing.B) {
	b.ReportAllocs()
	cr := csv.NewReader(benchCSV(b.N, ""))
	cr.ReuseRecord = true
	for {
		if _, err := cr.Read(); err == io.EOF {
			break
		} else if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}

func BenchmarkJSONL(b *testing.B) {
	benchmark(b, benchJSONL, JSONL)
}
