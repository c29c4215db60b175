// What is remembered between visits, and the room that the address names.

const DEFAULT_ROOM = 'lobby';
const ROOMS_MAX = 50;

// The tab's own memory comes first, so that two tabs can keep two names through a reload; the
// browser's is what a new tab starts from. Either may be forbidden, which only means forgetting.
function recall(key) {
  for (const area of ['sessionStorage', 'localStorage']) {
    try {
      const value = JSON.parse(window[area].getItem(`slabcast.${key}`));
      if (value !== null) return value;
    } catch {
      continue;
    }
  }
  return null;
}

function remember(key, value) {
  for (const area of ['sessionStorage', 'localStorage']) {
    try {
      window[area].setItem(`slabcast.${key}`, JSON.stringify(value));
    } catch {
      continue;
    }
  }
}

export function recallName() {
  const name = recall('name');
  return typeof name === 'string' ? name : '';
}

export function rememberName(name) {
  remember('name', name);
}

export function recallRooms() {
  const rooms = recall('rooms');
  return Array.isArray(rooms) ? rooms.filter((room) => typeof room === 'string').slice(-ROOMS_MAX) : [];
}

export function rememberRooms(rooms) {
  remember('rooms', rooms);
}

// Not URLSearchParams: it would read the plus in a hand-written #room=c++ as a space.
export function roomInAddress() {
  const [, encoded] = /^#room=([^&]*)/.exec(location.hash) ?? [];
  try {
    return decodeURIComponent(encoded ?? '') || DEFAULT_ROOM;
  } catch {
    return DEFAULT_ROOM;
  }
}

export function addressOf(room) {
  return `#room=${encodeURIComponent(room)}`;
}
