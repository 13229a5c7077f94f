package export

import (
	"fmt"
	"path/filepath"
	"runtime"
	"testing"
)

// benchRows are rows as an export of members has them: ten columns. They are
// many enough that a compressor does not find all of them again.
func benchRows(f Format) (rows [][]string) {
	for i := range 20_000 {
		id := 10000000 + i
		if f.Kind == JSONL {
			rows = append(rows, []string{fmt.Sprintf(`{"group_id":"@TGS#2J4SZEAEL","Member_Account":"user%d","Role":"Member","JoinTime":%d,"MsgSeq":1233,"MsgFlag":"AcceptAndNotify","LastSendMsgTime":0,"MuteUntil":0,"NameCard":"学生 %d"}`, id, 1782000000+i, i)})
			continue
		}
		rows = append(rows, []string{"@TGS#2J4SZEAEL", fmt.Sprint("user", id), "Member", fmt.Sprint(1782000000 + i), "1233", "AcceptAndNotify", "0", "0", fmt.Sprint("学生 ", i), "a, \"b\""})
	}
	return rows
}

func BenchmarkWriter(b *testing.B) {
	for _, f := range allFormats() {
		b.Run(f.String(), func(b *testing.B) { benchmark(b, f) })
	}
}

func benchmark(b *testing.B, f Format) {
	b.ReportAllocs()
	rows, peak := benchRows(f), uint64(0)
	before := heapSys()
	w, err := Create(filepath.Join(b.TempDir(), "x"), f, Options{Columns: columnNames(10)})
	must(b, err)
	defer w.Discard()
	b.ResetTimer()
	for i := range b.N {
		if err := add(w, rows[i%len(rows)]); err != nil {
			b.Fatal(err)
		}
		if i%200_000 == 0 {
			peak = max(peak, heapSys())
		}
	}
	peak = max(peak, heapSys())
	sum, err := w.Close()
	must(b, err)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rows/s")
	b.ReportMetric(float64(max(peak, before)-before)/(1<<20), "heap-MiB")
	b.ReportMetric(float64(sum.Bytes)/float64(b.N), "bytes/row")
}

// heapSys is what the process has taken for its heap, after a collection.
func heapSys() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapSys
}
