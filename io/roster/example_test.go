package roster_test

import (
	"fmt"
	"log"
	"strings"

	"chatbatch/io/roster"
)

func ExampleOpen() {
	type mark struct {
		Group   roster.Group   `csv:"group_id"`
		Account roster.Account `csv:"account"`
		Marks   roster.Marks   `csv:"marks"`
	}
	file := strings.NewReader(`群组ID,学号,marks
@TGS#1,00123,"1000,1001"
@TGS#1,00124,010
@TGS#1,"00125,1000
@TGS#1,00126,1000
`)
	r, err := roster.Open[mark](file, roster.Options{Map: map[string]string{"学号": "account"}})
	if err != nil {
		log.Fatal(err)
	}
	for row, err := range r.Rows() {
		switch {
		case err != nil:
			log.Fatal(err)
		case row.Err != nil:
			fmt.Printf("line %d: %v\n", row.Line, row.Err)
		default:
			fmt.Printf("line %d: %s in %s gets %v\n", row.Line, row.Value.Account, row.Value.Group, row.Value.Marks)
		}
	}
	// Output:
	// line 2: 00123 in @TGS#1 gets [1000 1001]
	// line 3: column marks: "010" is not a mark: leading zero
	// line 4: a quoted field is not closed on its line: a field cannot run over several lines
	// line 5: 00126 in @TGS#1 gets [1000]
}
