package report

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// What is in npm/ is what the registry has, and nothing else is there.
func TestLibrariesAreAsPublished(t *testing.T) {
	sums, err := os.ReadFile("web/npm/SHA256SUMS")
	must(t, err)
	known := []string{"README.md", "SHA256SUMS"}
	for line := range strings.Lines(string(sums)) {
		want, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		b, err := os.ReadFile("web/npm/" + name)
		must(t, err)
		if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != want {
			t.Errorf("%s is not what it was", name)
		}
		known = append(known, name)
	}
	entries, err := os.ReadDir("web/npm")
	must(t, err)
	for _, e := range entries {
		if !slices.Contains(known, e.Name()) {
			t.Errorf("%s has no checksum", e.Name())
		}
	}
	for version, text := range map[string]string{"Tabulator v6.5.3": tabulatorJS, "uPlot (v1.6.32)": uPlotJS} {
		if !strings.Contains(text[:100], version) {
			t.Errorf("got %.100s, want %s", text, version)
		}
	}
}

// What stands in the page as it is must not end its element, and is the same text
// for the browser, that makes one line end of \r\n, as for the hash.
func TestAssetsCanStandInAPage(t *testing.T) {
	f := &facts{Curve: &drawn{}, Group: []groupLine{}}
	f.Sum.Failed = 1
	f.assemble()
	texts := append(f.scripts.text, f.styles.text...)
	if len(texts) != 8 {
		t.Fatalf("got %d", len(texts))
	}
	for _, s := range texts {
		if bad := regexp.MustCompile(`(?i)</?(script|style)|<!--|\r|\x00|sourceMappingURL`).FindString(s); bad != "" {
			t.Errorf("%q in %.60s", bad, s)
		}
	}
}

// The policy allows what is in the page, by its hash, and nothing else.
func TestPolicy(t *testing.T) {
	page := pageOf(t, hostile(t))
	m := regexp.MustCompile(`<meta http-equiv="Content-Security-Policy" content="([^"]*)">`).FindAllStringSubmatch(page, -1)
	if len(m) != 1 || strings.Index(page, m[0][0]) > strings.Index(page, "<style>") {
		t.Fatalf("got %d policies, want one before everything else", len(m))
	}
	want := "default-src 'none'; script-src" + hashes(page, "script") + "; style-src" + hashes(page, "style") + "; base-uri 'none'; form-action 'none'"
	if m[0][1] != want {
		t.Errorf("got  %s\nwant %s", m[0][1], want)
	}
}

// hashes are those of the elements of a page that are run or applied.
func hashes(page, tag string) (all string) {
	for _, m := range regexp.MustCompile(`(?s)<`+tag+`>(.*?)</`+tag+`>`).FindAllStringSubmatch(page, -1) {
		sum := sha256.Sum256([]byte(m[1]))
		all += " 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	return all
}

// The page says of each class what the README says.
func TestClassesAreThoseOfTheReadme(t *testing.T) {
	b, err := os.ReadFile("../../README.md")
	must(t, err)
	_, table, ok := strings.Cut(string(b), "| class of a failed row | what to do |\n| --- | --- |\n")
	if !ok {
		t.Fatal("the README has no such table")
	}
	var got, want []string
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.TrimSpace(line), " | ")
		if len(cells) != 2 {
			break
		}
		for name := range strings.FieldsSeq(strings.Trim(cells[0], "|")) {
			want = append(want, strings.Trim(name, "`")+": "+strings.TrimSuffix(cells[1], " |"))
		}
	}
	for _, c := range classes() {
		got = append(got, c.name+": "+c.todo)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
