package report

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// maxMetricsFile bounds what is read of a file of metrics.
const maxMetricsFile = 4 << 20

// ErrNotMetrics says that a file is not one that Metrics has written.
var ErrNotMetrics = errors.New("it is no file of metrics of chatbatch")

// ReadEnds reads from a file that Metrics has written how the commands of a name have
// ended: the next file is to know it, too. None have if there is no such file, or it is
// empty. Of any other file the error is [ErrNotMetrics].
func ReadEnds(path, name string) (Ends, error) {
	text, err := readMetrics(path)
	if err != nil || text == "" {
		return Ends{}, err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil || families["chatbatch_build_info"] == nil {
		return Ends{}, fmt.Errorf("%s: %w", path, ErrNotMetrics)
	}
	number := func(family string) float64 {
		for _, m := range families["chatbatch_"+family].GetMetric() {
			if labelOf(m, "name") == valid(name) {
				return m.GetGauge().GetValue()
			}
		}
		return 0
	}
	at := func(family string) time.Time {
		if s := number(family); s > 0 {
			return time.UnixMilli(int64(s * 1000)).UTC()
		}
		return time.Time{}
	}
	return Ends{
		Last: at("last_end_timestamp_seconds"), Exit: int(number("last_exit_code")), Seconds: number("last_duration_seconds"),
		Finished: at("last_finish_timestamp_seconds"), Success: at("last_success_timestamp_seconds"),
	}, nil
}

func readMetrics(path string) (string, error) {
	i, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", err
	case !i.Mode().IsRegular():
		return "", fmt.Errorf("%s: %w", path, ErrNotMetrics)
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxMetricsFile))
	return string(b), err
}

func labelOf(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}
