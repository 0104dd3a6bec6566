//go:build coffer_custom

package coffer

// What CGO_CFLAGS and CGO_LDFLAGS name, such as a build with a sanitizer.

import "C"
