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

// For as long as the tab lives, and in no other: whoever has it is its user.
export function recallToken() {
  try {
    return sessionStorage.getItem('slabcast.token') ?? '';
  } catch {
    return '';
  }
}

export function rememberToken(token) {
  try {
    if (token) sessionStorage.setItem('slabcast.token', token);
    else sessionStorage.removeItem('slabcast.token');
  } catch {
    // Then it is forgotten at the next reload.
  }
}

export function roomInAddress() {
  return inAddress('room') || DEFAULT_ROOM;
}

// Behind the #, which no server and no log of one gets to see.
export function tokenInAddress() {
  return inAddress('token');
}

// Not URLSearchParams: it would read the plus in a hand-written #room=c++ as a space.
function inAddress(name) {
  const [, encoded = ''] = new RegExp(`^#(?:.*&)?${name}=([^&]*)`).exec(location.hash) ?? [];
  try {
    return decodeURIComponent(encoded);
  } catch {
    return '';
  }
}

export function addressOf(room) {
  return `#room=${encodeURIComponent(room)}`;
}
