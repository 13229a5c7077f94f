package chat

// A region is a data centre of the vendor, and an SDKAppID lives in one.
type region struct{ name, main, backup string }

// regions is the union of the domain tables of the API's public pages. Riyadh
// has no published backup; Mumbai is on older pages only.
var regions = [...]region{
	{"cn", "console.tim.qq.com", "adminapi.my-imcloud.com"},
	{"sg", "adminapisgp.im.qcloud.com", "adminapisgp.my-imcloud.com"},
	{"kr", "adminapikr.im.qcloud.com", "adminapikr.my-imcloud.com"},
	{"jp", "adminapijpn.im.qcloud.com", "adminapijpn.my-imcloud.com"},
	{"de", "adminapiger.im.qcloud.com", "adminapiger.my-imcloud.com"},
	{"us", "adminapiusa.im.qcloud.com", "adminapiusa.my-imcloud.com"},
	{"id", "adminapiidn.im.qcloud.com", "adminapiidn.my-imcloud.com"},
	{"in", "adminapiind.im.qcloud.com", "adminapiind.my-imcloud.com"},
	{"sa", "adminapiksa.im.qcloud.com", ""},
}

// Domain returns the host names that serve a region: the main one and the
// backup that the vendor offers against DNS hijacking ("" if there is none).
// ok is false for a name that [Regions] does not list.
func Domain(name string) (main, backup string, ok bool) {
	for _, r := range regions {
		if r.name == name {
			return r.main, r.backup, true
		}
	}
	return "", "", false
}

// Regions returns the region names that [Domain] knows, China first.
func Regions() []string {
	names := make([]string, len(regions))
	for i, r := range regions {
		names[i] = r.name
	}
	return names
}
