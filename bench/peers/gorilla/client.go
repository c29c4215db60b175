package main

import (
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

const (
	writeWait  = 10 * time.Second
	pongWait   = 60 * time.Second
	pingPeriod = pongWait * 9 / 10

	// The tutorials' 512 is less than some payloads here.
	maxMessageBytes = 64 << 10

	// Messages, as in the tutorials.
	queueLength = 256
)

type client struct {
	hub    *hub
	socket *websocket.Conn
	queue  chan []byte
	// Closed as soon as either goroutine ends, so that nobody waits for the member any more.
	gone  chan struct{}
	leave sync.Once
}

func newClient(room *hub, socket *websocket.Conn) *client {
	return &client{
		hub:    room,
		socket: socket,
		queue:  make(chan []byte, queueLength),
		gone:   make(chan struct{}),
	}
}

func (member *client) end() {
	member.leave.Do(func() {
		close(member.gone)
		member.socket.Close()
	})
}

func (member *client) read() {
	defer func() {
		member.end()
		member.hub.unregister <- member
	}()
	member.socket.SetReadLimit(maxMessageBytes)
	member.socket.SetReadDeadline(time.Now().Add(pongWait))
	member.socket.SetPongHandler(func(string) error {
		return member.socket.SetReadDeadline(time.Now().Add(pongWait))
	})
	for {
		_, message, err := member.socket.ReadMessage()
		if err != nil {
			return
		}
		select {
		case member.hub.broadcast <- message:
		case <-member.gone:
			return
		}
	}
}

func (member *client) write() {
	ticker := time.NewTicker(pingPeriod)
	defer ticker.Stop()
	defer member.end()
	for {
		var err error
		select {
		case message := <-member.queue:
			err = member.writeAll(message)
		case <-ticker.C:
			member.socket.SetWriteDeadline(time.Now().Add(writeWait))
			err = member.socket.WriteMessage(websocket.PingMessage, nil)
		case <-member.gone:
			return
		}
		if err != nil {
			return
		}
	}
}

// Writes a message and, as the tutorials do, what else is queued into the same one, a line each.
func (member *client) writeAll(message []byte) error {
	member.socket.SetWriteDeadline(time.Now().Add(writeWait))
	writer, err := member.socket.NextWriter(websocket.TextMessage)
	if err != nil {
		return err
	}
	writer.Write(message)
	for range len(member.queue) {
		writer.Write([]byte{'\n'})
		writer.Write(<-member.queue)
	}
	return writer.Close()
}
