// Package manual makes man pages of commands, from what their help says.
//
// It writes them itself: the pages of cobra/doc go through Markdown, in which the lines
// of our help become paragraphs and <FLAG> a tag, and mandoc has a warning for each
// flag of them.
package manual

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// An Entry is a word and what it means.
type Entry struct{ Word, Meaning string }

// A Manual is what the pages have in common.
type Manual struct {
	Date    time.Time // of the sources: the same sources make the same pages
	Version string
}

// Section is that of programs, and the ending of the names of pages.
const Section = "1"

// Write writes a page for cmd and one for each command under it into dir.
func (m Manual) Write(cmd *cobra.Command, dir string) error {
	cmd.InitDefaultHelpFlag()
	name := filepath.Join(dir, dashed(cmd)+"."+Section)
	if err := os.WriteFile(name, []byte(m.page(cmd)), 0o644); err != nil {
		return fmt.Errorf("write a man page: %w", err)
	}
	for _, c := range under(cmd) {
		if err := m.Write(c, dir); err != nil {
			return err
		}
	}
	return nil
}

// under are the commands under cmd that have a page.
func under(cmd *cobra.Command) (all []*cobra.Command) {
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() && !c.IsAdditionalHelpTopicCommand() {
			all = append(all, c)
		}
	}
	return all
}

// dashed is the name of a command's page.
func dashed(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

// page is the page of one command.
func (m Manual) page(cmd *cobra.Command) string {
	p := &page{}
	p.macro(`'\" -*- coding: utf-8 -*-`)
	p.macro(fmt.Sprintf(`.TH %s %s %s "%s" "%s"`, strings.ToUpper(dashed(cmd)), Section, m.Date.Format(time.DateOnly), m.Version, cmd.Root().Name()))
	p.section("NAME")
	p.macro(roff(dashed(cmd)) + ` \- ` + roff(cmd.Short))
	p.section("SYNOPSIS")
	p.macro(`\fB` + roff(cmd.CommandPath()) + `\fP` + roff(strings.TrimPrefix(cmd.UseLine(), cmd.CommandPath())))
	p.section("DESCRIPTION")
	help, codes, _ := strings.Cut(cmd.Long, exitHeading)
	if help == "" {
		help = cmd.Short + "."
	}
	p.help(help)
	if all := under(cmd); len(all) > 0 {
		p.section("COMMANDS")
		for _, c := range all {
			p.item(`\fB`+roff(c.Name())+`\fP`, c.Short+".")
		}
	}
	p.options(cmd.LocalFlags())
	p.list("EXIT STATUS", exitCodes(codes))
	if !cmd.HasParent() {
		p.list("ENVIRONMENT", Environment())
		p.list("FILES", Files())
	}
	p.seeAlso(cmd)
	return p.b.String()
}

// exitHeading begins the exit codes, which end the help of a command that has some.
const exitHeading = "Exit codes:\n"

// exitLine is the first line of an exit code.
var exitLine = regexp.MustCompile(`^  (\d+) +(.*)`)

// exitCodes reads the list of exit codes.
func exitCodes(text string) (all []Entry) {
	for line := range strings.Lines(text) {
		if found := exitLine.FindStringSubmatch(line); found != nil {
			all = append(all, Entry{found[1], found[2]})
		} else if len(all) > 0 {
			all[len(all)-1].Meaning += " " + strings.TrimSpace(line)
		}
	}
	return all
}

// A page is written from its top to its end.
type page struct{ b strings.Builder }

// macro writes a line as it is.
func (p *page) macro(line string) { p.b.WriteString(line + "\n") }

func (p *page) section(title string) { p.macro(".SH " + title) }

// item writes one entry of a list; term is formatted.
func (p *page) item(term, text string) {
	p.macro(".TP")
	p.macro(term)
	p.macro(roff(text))
}

func (p *page) list(title string, entries []Entry) {
	if len(entries) == 0 {
		return
	}
	p.section(title)
	for _, e := range entries {
		p.item(`\fB`+roff(e.Word)+`\fP`, e.Meaning)
	}
}

// help writes a help text: what is indented there stays as it stands.
func (p *page) help(text string) {
	lines := strings.Split(strings.ReplaceAll(strings.TrimSpace(text), "\t", "    "), "\n")
	for i := 0; i < len(lines); {
		indented := strings.HasPrefix(lines[i], "  ")
		end := i
		for end < len(lines) && lines[end] != "" && strings.HasPrefix(lines[end], "  ") == indented {
			end++
		}
		if end == i {
			i++ // a blank line
			continue
		}
		if i > 0 { // the heading of the section begins a paragraph, too
			p.macro(".PP")
		}
		if indented {
			p.macro(".nf")
		}
		for _, line := range lines[i:end] {
			p.macro(roff(line))
		}
		if indented {
			p.macro(".fi")
		}
		i = end
	}
}

func (p *page) options(flags *pflag.FlagSet) {
	p.section("OPTIONS")
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		kind, usage := pflag.UnquoteUsage(f)
		term := `\fB\-\-` + roff(f.Name) + `\fP`
		if f.Shorthand != "" {
			term = `\fB\-` + f.Shorthand + `\fP, ` + term
		}
		if kind != "" {
			term += ` \fI` + roff(kind) + `\fP`
		}
		if zero := []string{"", "0", "0s", "false", "[]"}; !slices.Contains(zero, f.DefValue) {
			usage += " (default " + f.DefValue + ")"
		}
		p.item(term, usage)
	})
}

func (p *page) seeAlso(cmd *cobra.Command) {
	var names []string
	if cmd.HasParent() {
		names = append(names, dashed(cmd.Parent()))
	}
	for _, c := range under(cmd) {
		names = append(names, dashed(c))
	}
	if len(names) == 0 {
		return
	}
	p.section("SEE ALSO")
	for i, name := range names {
		end := ","
		if i == len(names)-1 {
			end = ""
		}
		p.macro(`.BR ` + roff(name) + ` (` + Section + `)` + end)
	}
}

// roff escapes a line of text.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		text = `\&` + text
	}
	return text
}
