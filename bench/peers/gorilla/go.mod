module slabcast/bench/peers/gorilla

go 1.22

require github.com/gorilla/websocket v1.5.0

// Debian's package golang-github-gorilla-websocket-dev, unpacked here by ../install.sh. Where there is
// a Go module proxy, `go mod edit -dropreplace github.com/gorilla/websocket` does as well.
replace github.com/gorilla/websocket => ./.websocket/usr/share/gocode/src/github.com/gorilla/websocket
