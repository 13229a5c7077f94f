// Package chat speaks the group part of the Tencent Cloud Chat server REST API.
//
// A [Client] sends one HTTP request per call and never retries or waits for a
// turn: pace and retries belong to the caller, who knows the budget. What the
// caller needs for that comes back with the call: [Judge] says what an error
// means for the run, and a [Timing] says how long the call was on its
// way.
//
// The truth of an answer is in its body. A call succeeded when the answer is
// HTTP 200, a JSON object, and its ErrorCode is 0; ActionStatus is not asked,
// except that an explicit FAIL is never a success. A refusal by the server is
// an [*Error], a call without a usable answer a [*TransportError].
//
// The signature of the app admin (UserSig) travels in the query of each
// request. No error, log value or formatted value of this package holds it,
// the secret key, or the URL.
//
// A new endpoint is one file: its request and answer structs and one method
// that hands them to call.
package chat
