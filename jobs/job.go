package jobs

import (
	"context"

	"chatbatch/io/ledger"
)

// Classes of failed rows. They are part of the contract with scripts: they
// stand in the _class column of a failed file and in the summary. The classes
// of rows that the server refused come from the verdict table of io/chat.
const (
	ClassBadRow       = "bad_row"            // could not be read, or names something the API cannot take
	ClassOverLimit    = "over_limit"         // beyond what the API allows a whole group
	ClassOffline      = "offline_or_absent"  // not online in the group, not a member, or no such account
	ClassMarkNotSet   = "mark_not_set"       // the answer names the account without all its marks
	ClassWithChunk    = "refused_with_chunk" // refused with its neighbours; the budget did not reach it alone
	ClassRefused      = "refused"            // refused alone
	ClassNoPermission = "no_permission"      // the whole group, by code 10007
	maxAccountBytes   = 32                   // of a UserID
	topicInfix        = "@TOPIC#_"           // inside the id of a topic, which is no group to these APIs
	DefaultChunkSize  = 500                  // accounts a call, as modify_user_info documents it
)

// A Kind is one kind of job: what the plan and the run need to know of it.
// Its methods may be called from many goroutines.
type Kind interface {
	// Name is the kind as its user writes it, e.g. "marks set".
	Name() string

	// Merge joins what two rows ask for the same account of one group. It
	// may reuse have.
	Merge(have, more []byte) []byte

	// NewGroup makes the check of one group's limits over the whole input,
	// or returns nil where the API sets none.
	NewGroup() GroupCheck

	// Settle sends one chunk. It returns one outcome for each entry, or an
	// error if the chunk could not be settled: then none of it counts, and a
	// later run sends it again.
	Settle(ctx context.Context, call *Caller, c ledger.Chunk) ([]ledger.Outcome, error)
}

// A GroupCheck holds the limits that the API sets on a whole group. Its rows
// come in the order of the input.
type GroupCheck interface {
	// Admit says why a row is beyond a limit, or nil and counts it. have is
	// what earlier rows asked for the same account, nil if none did.
	Admit(have, more []byte) error
}

// An Ask is what one row asks for, in the form in which it is planned.
type Ask struct {
	Group   string
	Account string
	Data    []byte // the kind's own, valid until the next record is read
}
