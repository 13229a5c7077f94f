package chatsim

import "time"

// A Scenario says what the simulated Chat API is like. Its zero value is an
// API without a group, with a quota of 200 calls a second, no latency and no
// faults, that takes any app and does not look at the UserSig.
//
// In YAML the names are in lower snake case and durations are written like
// 20ms; see [Parse].
type Scenario struct {
	// Seed drives everything that looks like chance: faults, jitter, who is
	// offline, the order of an answer. The same seed and the same order of
	// arrival give the same rehearsal.
	Seed uint64 `yaml:"seed"`

	SDKAppID   int64  `yaml:"sdkappid"`   // 0: any; must be set together with SecretKey
	Identifier string `yaml:"identifier"` // the App admin; "": any account is one
	SecretKey  string `yaml:"secret_key"` // "": the UserSig must be there, but is not looked at
	// AuthFailures is how many failed verifications within a minute lock the
	// app out for a minute (70050). 0 is 10, below zero is never. The vendor
	// does not tell the number.
	AuthFailures int `yaml:"auth_failures"`

	// QPS is the quota: most calls that are served in a second; 0 is 200,
	// below zero is no quota.
	QPS int `yaml:"qps"`
	// QPSScope is what shares that quota: "app" (all calls, the default and
	// the stricter reading) or "api" (each command has its own).
	QPSScope string `yaml:"qps_scope"`
	// AppQPS is a second quota over all commands, refused with 60011; 0 is none.
	AppQPS int `yaml:"app_qps"`
	// Window is "sliding" (the default): no second (t-1s, t] serves more
	// than the quota; or "fixed": no second of the clock does.
	Window string `yaml:"window"`
	// CountRejected lets calls over the quota use it up as well; it makes no
	// difference to a fixed window.
	CountRejected bool `yaml:"count_rejected"`
	// OverQuotaCode is the ErrorCode over QPS; 0 is 60007.
	OverQuotaCode int `yaml:"over_quota_code"`

	Latency time.Duration `yaml:"latency"` // every answer comes that late
	Jitter  time.Duration `yaml:"jitter"`  // and up to this much later, evenly spread

	// PageSize is the page of get_members; 0 is 500. The documentation's
	// pages disagree: 500 and 250.
	PageSize int `yaml:"page_size"`
	// OmitNext leaves the cursor out of the last page: NextTimestamp of
	// get_members, which is 0 there, and Next of get_group_member_info,
	// which is "".
	OmitNext bool `yaml:"omit_next"`
	// Shuffle answers in an order of its own, since none is documented.
	Shuffle bool `yaml:"shuffle"`
	// MaxMembers is most accounts of one modify_user_info; 0 is 500. More
	// are refused with 10005.
	MaxMembers int `yaml:"max_members"`

	// AllOfflineCode is the ErrorCode when nobody of a request could be
	// marked; 0 is 10004. The vendor says only that "a failure result" is
	// returned, so a client should be tried with several.
	AllOfflineCode int `yaml:"all_offline_code"`

	// MemberLimit is most members of a page of get_group_member_info of a
	// group that is listed by Offset, 0 is 200; CommunityLimit is that of a
	// Community, 0 is 100. A Limit above it is lowered without a word; a
	// request without a Limit gets all members.
	MemberLimit    int `yaml:"member_limit"`
	CommunityLimit int `yaml:"community_limit"`
	// RoleOffset is what the Offset and the Limit of a request with
	// MemberRoleFilter count, which is not documented: "before" (the default)
	// all members, of whom those with another role are then left out, so that
	// a page may be empty; "after" those with the role alone.
	RoleOffset string `yaml:"role_offset"`
	// RoleBlank spells the role of plain members "Member ", as a sample of
	// the documentation has it.
	RoleBlank bool `yaml:"role_blank"`
	// MaxAnswer is most bytes of an answer with members (of
	// get_group_member_info, and of get_group_info without a filter); 0 is
	// 1 MiB, at most 8 MiB. A larger one is refused with 10018.
	MaxAnswer int `yaml:"max_answer"`

	// NotMemberCode is the ErrorCode of a set_unread_msg_num for an account
	// that is no member; 0 is 10019. None is documented.
	NotMemberCode int `yaml:"not_member_code"`
	// Action1 lets set_unread_msg_num spell ActionStatus Action1Status, as
	// its page has it.
	Action1 bool `yaml:"action1"`

	// GroupListQPS is the quota of get_appid_group_list, on top of QPS; 0 is
	// 1, below zero is none.
	GroupListQPS int `yaml:"group_list_qps"`
	// GroupListLimit is most groups of its page; 0 is 10,000. A Limit above
	// it is lowered without a word, one above 10,000 refused.
	GroupListLimit int `yaml:"group_list_limit"`

	// Premium is the edition that modify_user_info and get_members need; nil is true. Without
	// it get_members lists the 30 newest members and modify_user_info is
	// refused with NotPremiumCode (0 is 10059: the vendor documents a
	// failure, but no code).
	Premium        *bool `yaml:"premium"`
	NotPremiumCode int   `yaml:"not_premium_code"`

	// Open lets groups and accounts exist that the scenario does not name:
	// any valid group ID is an AVChatRoom to modify_user_info and
	// get_members and Public to the others (a Community with the @TGS#_
	// prefix to all), any UserID of 1 to 32 bytes is its member.
	Open bool `yaml:"open"`
	// OpenMembers is how many members get_group_member_info lists of a group
	// that exists by Open only: member-1, member-2, … 0 is 120, below zero is
	// none.
	OpenMembers int `yaml:"open_members"`
	// KeepState keeps the marks and unread counts of groups that exist by Open only. Without
	// it memory stays bounded however many groups there are, but the limits
	// of a whole group (10 marks, 1,000 members a mark) are not enforced
	// for them, and [Sim.Marks], [Sim.Unread] and a get_members by mark know
	// nothing.
	// Named groups always keep their marks: at most 10,000 pairs each, by
	// the limits of the API itself.
	KeepState bool `yaml:"keep_state"`
	// OfflineRate is the share, 0 to 1, of open and generated members who
	// are offline. Who is depends on Seed, group and account alone.
	OfflineRate float64 `yaml:"offline_rate"`

	// Poison has accounts that spoil a request: one that names any of them
	// is refused whole with PoisonCode (0 is 10004).
	Poison     []string `yaml:"poison"`
	PoisonCode int      `yaml:"poison_code"`

	Groups []Group `yaml:"groups"`
	// GenerateGroups makes many groups that are alike, without memory for
	// those that nothing is done to.
	GenerateGroups []GenerateGroups `yaml:"generate_groups"`
	Faults         []Fault          `yaml:"faults"`

	// Record keeps every call for [Sim.Calls]: about 100 bytes each, for ever.
	Record bool `yaml:"record"`
}

// A Group is a group that the scenario names.
type Group struct {
	ID string `yaml:"id"`
	// Type is told as it is written here: "" is AVChatRoom; Private, Public,
	// ChatRoom, Community, … Servers use the old names of Work (Private) and
	// Meeting (ChatRoom); a filter takes both for the same.
	Type string `yaml:"type"`
	// Owner has the role Owner if it is a member. Without it the member that
	// is listed with the role has, or else the first that is generated. No
	// rule of the endpoints asks for it: the REST API is the App admin's.
	Owner    string   `yaml:"owner"`
	Members  []Member `yaml:"members"`
	Generate Generate `yaml:"generate"`
	// Messages is how many messages there are in the group: most that a
	// member has not read. nil: no limit.
	Messages *uint32 `yaml:"messages"`
	Churn    Churn   `yaml:"churn"`
}

// A Member is a member of a group, online unless it says otherwise.
type Member struct {
	Account  string `yaml:"account"`
	Offline  bool   `yaml:"offline"`
	JoinTime int64  `yaml:"join_time"` // Unix seconds; 0: after the member before
	NickName string `yaml:"nick_name"`
	Avatar   string `yaml:"avatar"`

	// What get_group_member_info tells besides.
	Role            string  `yaml:"role"`               // Owner, Admin, Member; "" is Member
	NameCard        *string `yaml:"name_card"`          // nil: there is no such field
	MsgSeq          int64   `yaml:"msg_seq"`            // of the latest message that was read
	MsgFlag         string  `yaml:"msg_flag"`           // "" is AcceptAndNotify
	LastSendMsgTime int64   `yaml:"last_send_msg_time"` // Unix seconds; 0: never
	MuteUntil       int64   `yaml:"mute_until"`         // Unix seconds; 0: not muted; 4294967295: for ever
	Custom          Custom  `yaml:"custom"`
	Extra           Extra   `yaml:"extra"`
}

// Generate makes the members Prefix1 … PrefixCount, without memory for each.
type Generate struct {
	Prefix string `yaml:"prefix"`
	Count  int    `yaml:"count"`
	// OfflineRate is the share, 0 to 1, who are offline; 0: the scenario's.
	OfflineRate float64 `yaml:"offline_rate"`
	// CustomBytes is how many bytes the custom fields of each have together;
	// they are Custom1 to Custom5, or less where there are less bytes.
	CustomBytes int `yaml:"custom_bytes"`
}

// GenerateGroups makes the groups Prefix1 … PrefixCount, each with the members
// member-1 … member-Members.
type GenerateGroups struct {
	Prefix  string `yaml:"prefix"`
	Count   int    `yaml:"count"`
	Type    string `yaml:"type"` // "" is AVChatRoom; Communities have a prefix that begins with @TGS#_, and nobody else does
	Members int    `yaml:"members"`
}

// Churn lets members leave and join while a group is exported. It looks at
// the calls of get_group_member_info that name the group and are well-formed:
// before each Every-th of them Leave members who were listed by an earlier one
// leave, so that the offsets of all who follow shift, and Join accounts that
// were no members join at the end. Who leaves depends on Seed and group alone;
// the owner stays.
type Churn struct {
	Every int `yaml:"every"`
	Leave int `yaml:"leave"`
	Join  int `yaml:"join"`
	Calls int `yaml:"calls"` // it ends after so many times; 0: never
}

// A Kind names what a fault does to a call.
type Kind string

// The kinds of faults. "Applied" means that the request has its effect.
const (
	KindCode      Kind = "code"           // answers Code (0: 10002) instead; applied if Fault.Applied
	KindOverQuota Kind = "over_quota"     // answers Code (0: the scenario's OverQuotaCode) below the quota; never applied
	KindStatus    Kind = "502"            // answers Status (0: 502) with a page of HTML
	KindReset     Kind = "reset"          // resets the connection instead of an answer; applied if Fault.Applied
	KindCut       Kind = "cut"            // breaks off in the middle of the body; always applied
	KindGarbage   Kind = "garbage"        // answers 200 with a body that is no JSON
	KindLost      Kind = "lost"           // applied, then the connection is reset: the answer is lost
	KindHang      Kind = "hang"           // no answer for Delay (0: 60 s) or until the client gives up, then a reset
	KindSlow      Kind = "slow"           // the right answer, Delay (0: 5 s) later
	KindFailZero  Kind = "fail_zero"      // "ActionStatus":"FAIL" with ErrorCode 0
	KindNoCode    Kind = "no_code"        // a JSON object without ErrorCode
	KindAction1   Kind = "action1_status" // the right answer with Action1Status for ActionStatus, as one page spells it
	KindStuck     Kind = "stuck_cursor"   // get_members: NextTimestamp is the Timestamp asked for, never 0; get_group_member_info of a Community: likewise with Next
	KindMembers   Kind = "max_members"    // modify_user_info: the most accounts are Members for this call, 10005 beyond
)

// A Fault spoils calls. Calls are asked in the order of arrival; of several
// faults that fit a call the first one listed is played. Calls that are
// malformed or over the quota are not asked and not counted.
type Fault struct {
	Kind    Kind    `yaml:"kind"`
	Command string  `yaml:"command"` // modify_user_info, get_members, …; "": any, of a KindStuck get_members
	Rate    float64 `yaml:"rate"`    // 0 to 1: how likely each call is hit; 0 with Count: always
	// After spares that many calls of Command first, Count ends the fault
	// that many calls later (0: never): calls After+1 to After+Count.
	After int `yaml:"after"`
	Count int `yaml:"count"`

	Code    int           `yaml:"code"`
	Info    string        `yaml:"info"`    // ErrorInfo instead of the usual; {usersig} stands for the caller's
	Status  int           `yaml:"status"`  // of KindStatus
	Members int           `yaml:"members"` // of KindMembers
	Delay   time.Duration `yaml:"delay"`   // of KindSlow and KindHang; any other: later by this
	Applied bool          `yaml:"applied"` // the request has its effect all the same
}

// withDefaults fills in what the zero values stand for.
func (s Scenario) withDefaults() Scenario {
	for _, d := range []struct {
		field *int
		value int
	}{
		{&s.AuthFailures, 10},
		{&s.QPS, 200},
		{&s.OverQuotaCode, codeOverQuota},
		{&s.PageSize, 500},
		{&s.MaxMembers, 500},
		{&s.AllOfflineCode, codeBadParameter},
		{&s.NotPremiumCode, codeNotPremium},
		{&s.PoisonCode, codeBadParameter},
		{&s.MemberLimit, 200},
		{&s.CommunityLimit, 100},
		{&s.MaxAnswer, 1 << 20},
		{&s.NotMemberCode, codeNoAccount},
		{&s.GroupListQPS, 1},
		{&s.GroupListLimit, maxGroupList},
		{&s.OpenMembers, 120},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if s.QPSScope == "" {
		s.QPSScope = scopeApp
	}
	if s.Window == "" {
		s.Window = windowSliding
	}
	if s.RoleOffset == "" {
		s.RoleOffset = offsetBefore
	}
	if s.Premium == nil {
		s.Premium = new(true)
	}
	s.Faults = append([]Fault(nil), s.Faults...)
	for i := range s.Faults {
		s.Faults[i] = s.Faults[i].withDefaults(s.OverQuotaCode)
	}
	return s
}

func (f Fault) withDefaults(overQuota int) Fault {
	if f.Code == 0 {
		switch f.Kind {
		case KindCode:
			f.Code = codeSystemError
		case KindOverQuota:
			f.Code = overQuota
		}
	}
	if f.Kind == KindStatus && f.Status == 0 {
		f.Status = 502
	}
	if f.Delay == 0 {
		switch f.Kind {
		case KindSlow:
			f.Delay = 5 * time.Second
		case KindHang:
			f.Delay = time.Minute
		}
	}
	if f.Command == "" {
		switch f.Kind {
		case KindStuck:
			f.Command = commandGetMembers
		case KindMembers:
			f.Command = commandModifyUserInfo
		}
	}
	return f
}
