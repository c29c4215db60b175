// What people may be called and how a publication's data reads as text.

const NAME_BYTES_MAX = 255;
// Punctuation at the end belongs to the sentence around the address.
const LINK = /(https?:\/\/[^\s<>"]*[^\s<>"'.,;:!?)\]}])/iu;

// The server's own rule for users and rooms, told before it has to refuse. Returns '' when all is well.
export function nameProblem(name) {
  if (!name) return 'Please enter a name.';
  if (/[\p{Cc}\p{Cs}]/u.test(name)) return 'A name cannot hold control characters.';
  const bytes = new TextEncoder().encode(name).length;
  return bytes > NAME_BYTES_MAX ? `A name has at most ${NAME_BYTES_MAX} bytes; this one has ${bytes}.` : '';
}

export function textOf(data) {
  if (typeof data === 'string') return data;
  if (typeof data?.text === 'string') return data.text;
  if (isBinary(data)) return `[binary, ${base64Bytes(data.b64)} bytes]`;
  return JSON.stringify(data ?? null);
}

export function authorOf(info) {
  if (!info) return { user: '', label: 'server' };
  return { user: info.user, label: info.user || 'anonymous' };
}

// Text in pieces, so that the addresses in it can become links without any markup being parsed.
export function piecesOf(text) {
  return text.split(LINK).map((piece, index) => ({ text: piece, link: index % 2 === 1 }));
}

function isBinary(data) {
  return typeof data?.b64 === 'string' && Object.keys(data).length === 1;
}

function base64Bytes(base64) {
  return Math.floor((base64.replace(/=+$/, '').length * 3) / 4);
}
