package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"chatbatch/jobs/fleet"
)

// database looks whether runs can be kept in the database of --ledger, if one is named, and
// whether many hosts can work on them. Nothing is left behind in it.
func (c *checkup) database(ctx context.Context) {
	where, err := c.keptIn(c.w.getenv)
	if err != nil {
		c.fail("ledger", err)
		return
	}
	if where == ledgerLocal {
		return
	}
	s, err := c.ledgers.open(ctx, c.store.Dir, c.w.getenv, c.log)
	if err != nil {
		c.fail("ledger", err)
		return
	}
	defer s.close()
	// To hold a lock and to give it back is the least that a run writes.
	unlock, err := s.database.Lock(ctx, fmt.Sprintf("check-%d-%d", os.Getpid(), time.Now().UnixNano()), false)
	if err != nil {
		c.fail("ledger", ledgerNotOpened(err))
		return
	}
	unlock()
	c.ok("ledger", s.database.String()+": runs can be kept there")
	if err := fleet.Check(ctx, s.database); err != nil {
		// A run of one host needs no queue.
		c.note(finding{
			Name: "queue", State: stateWarning, Text: cleanText(c.flags, err),
			Do: "chatbatch submit and chatbatch work need it",
		})
		return
	}
	c.ok("queue", "many hosts can work on runs there")
}
