package chat

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRegions(t *testing.T) {
	if diff := cmp.Diff([]string{"cn", "sg", "kr", "jp", "de", "us", "id", "in", "sa"}, Regions()); diff != "" {
		t.Errorf("regions (-want +got):\n%s", diff)
	}
	for _, tt := range []struct{ region, main, backup string }{
		{"cn", "console.tim.qq.com", "adminapi.my-imcloud.com"},
		{"sg", "adminapisgp.im.qcloud.com", "adminapisgp.my-imcloud.com"},
		{"kr", "adminapikr.im.qcloud.com", "adminapikr.my-imcloud.com"},
		{"jp", "adminapijpn.im.qcloud.com", "adminapijpn.my-imcloud.com"},
		{"de", "adminapiger.im.qcloud.com", "adminapiger.my-imcloud.com"},
		{"us", "adminapiusa.im.qcloud.com", "adminapiusa.my-imcloud.com"},
		{"id", "adminapiidn.im.qcloud.com", "adminapiidn.my-imcloud.com"},
		{"in", "adminapiind.im.qcloud.com", "adminapiind.my-imcloud.com"},
		{"sa", "adminapiksa.im.qcloud.com", ""},
	} {
		main, backup, ok := Domain(tt.region)
		if !ok || main != tt.main || backup != tt.backup {
			t.Errorf("%s: got %q, %q, %v; want %q, %q", tt.region, main, backup, ok, tt.main, tt.backup)
		}
		c := answering("")
		c.Endpoint = "https://" + main
		if err := c.Check(); err != nil {
			t.Errorf("%s: %v", tt.region, err)
		}
	}
	for _, name := range []string{"", "CN", "xx", "console.tim.qq.com"} {
		if _, _, ok := Domain(name); ok {
			t.Errorf("%q: known", name)
		}
	}
}
