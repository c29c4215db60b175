package main

// One room. Only its own goroutine touches the members.
type hub struct {
	members    map[*client]bool
	broadcast  chan []byte
	register   chan *client
	unregister chan *client
}

func newHub() *hub {
	return &hub{
		members:    map[*client]bool{},
		broadcast:  make(chan []byte),
		register:   make(chan *client),
		unregister: make(chan *client),
	}
}

func (room *hub) run() {
	for {
		select {
		case member := <-room.register:
			room.members[member] = true
		case member := <-room.unregister:
			delete(room.members, member)
		case message := <-room.broadcast:
			for member := range room.members {
				// The tutorials have a default here, which drops the member.
				select {
				case member.queue <- message:
				case <-member.gone:
				}
			}
		}
	}
}
