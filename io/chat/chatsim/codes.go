package chatsim

// ErrorCodes this simulator answers by itself. They are written down here a
// second time, apart from package chat, so that client and simulator check
// each other.
const (
	codeBadURL         = 60002
	codeBadJSON        = 60003
	codeBadAccountURL  = 60004
	codeBadApp         = 60006
	codeOverQuota      = 60007
	codeNoService      = 60009
	codeNotAdmin       = 60010
	codeOverAppQuota   = 60011
	codeNoApp          = 60012
	codeAccountType    = 60015
	codeSigExpired     = 70001
	codeSigEmpty       = 70002
	codeSigBroken      = 70003
	codeSigWrongKey    = 70009
	codeSigOtherUser   = 70013
	codeSigOtherApp    = 70014
	codeSigLocked      = 70050
	codeSystemError    = 10002
	codeNoCommand      = 10003
	codeBadParameter   = 10004
	codeTooManyMembers = 10005
	codeNotAllowed     = 10007
	codeNoGroup        = 10010
	codeBadGroupID     = 10015
	codeTooLarge       = 10018
	codeNoAccount      = 10019
	codeNotPremium     = 10059
)

// texts has the ErrorInfo of a code, as the documentation words it where it
// does.
var texts = map[int]string{
	codeBadURL:         "HTTP parse Error",
	codeBadJSON:        "request json parse error",
	codeBadAccountURL:  "account or signature in the URL or the JSON body is wrong",
	codeBadApp:         "sdkappid is invalid",
	codeOverQuota:      "REST API call frequency exceeds the limit",
	codeNoService:      "resource error, check the URL",
	codeNotAdmin:       "the account is not an App admin",
	codeOverAppQuota:   "SDKAppID request frequency exceeds the limit",
	codeNoApp:          "sdkappid is missing in the URL",
	codeAccountType:    "account must be a string",
	codeSigExpired:     "UserSig has expired",
	codeSigEmpty:       "UserSig is empty",
	codeSigBroken:      "UserSig check failed, it may be truncated",
	codeSigWrongKey:    "UserSig does not match the key of this SDKAppID",
	codeSigOtherUser:   "UserID in the request is not the one in the UserSig",
	codeSigOtherApp:    "SDKAppID in the request is not the one in the UserSig",
	codeSigLocked:      "UserSig verification failed too often, try again in a minute",
	10001:              "The user is not logged in. Check whether the admin account and usersig are correct.",
	codeSystemError:    "A system error occurred. Try again or contact technical support.",
	codeNoCommand:      "The request command is invalid.",
	codeBadParameter:   "A parameter is invalid.",
	codeTooManyMembers: "Too many accounts in the request.",
	codeNotAllowed:     "Insufficient permission.",
	codeNoGroup:        "The group does not exist or has been deleted.",
	codeBadGroupID:     "The group ID is invalid. Please check the group ID.",
	codeTooLarge:       "The response exceeds the maximum size allowed (1 MB) because the group member data volume is too large.",
	codeNoAccount:      "The requested account does not exist.",
	codeNotPremium:     "This edition does not have the feature.",
}

// A refusal is an answer that failed: its ErrorCode and ErrorInfo. A nil
// *refusal is no refusal.
type refusal struct {
	code int
	info string
}

// refuse makes the refusal of a code, with what its text does not say.
func refuse(code int, detail string) *refusal {
	info, ok := texts[code]
	if !ok {
		info = "simulated error"
	}
	if detail != "" {
		info += " " + detail
	}
	return &refusal{code, info}
}
