// The chat of gorilla/websocket's tutorials: a hub goroutine for each path, and for each member one
// that reads and one that writes. It differs in one thing: a member whose queue is full is waited for.
// The tutorials' hub drops it, which in a chat at full speed is everybody, within milliseconds.
//
//	PORT=8080 gorilla
package main

import (
	"cmp"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"sync"

	"github.com/gorilla/websocket"
)

var upgrader = websocket.Upgrader{
	ReadBufferSize:  1024,
	WriteBufferSize: 1024,
	CheckOrigin:     func(*http.Request) bool { return true },
}

// Hubs by path. None is removed: a hub without members is a goroutine that sleeps.
type hubs struct {
	mutex  sync.Mutex
	byPath map[string]*hub
}

func (all *hubs) of(path string) *hub {
	all.mutex.Lock()
	defer all.mutex.Unlock()
	room, isThere := all.byPath[path]
	if !isThere {
		room = newHub()
		all.byPath[path] = room
		go room.run()
	}
	return room
}

func (all *hubs) ServeHTTP(response http.ResponseWriter, request *http.Request) {
	socket, err := upgrader.Upgrade(response, request, nil)
	if err != nil {
		return
	}
	member := newClient(all.of(request.URL.Path), socket)
	member.hub.register <- member
	go member.write()
	go member.read()
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:"+cmp.Or(os.Getenv("PORT"), "0"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("gorilla listens on http://%s/\n", listener.Addr())
	log.Fatal(http.Serve(listener, &hubs{byPath: map[string]*hub{}}))
}
