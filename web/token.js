// Tokens as the page sees them: whose one is, which it only reads and the server proves, and when the
// server wants another.

const SHAPE = /^[\w-]+\.[\w-]+\.[\w-]+$/;
const ERROR_EXPIRED = 109;
const CLOSE_REFUSED = 3500;

export function tokenProblem(token) {
  if (!token) return 'Please paste a token.';
  return SHAPE.test(token) ? '' : 'This is not a token, which has three parts with dots between them.';
}

// '' for somebody without a name, and where there is nothing to read.
export function userOf(token) {
  try {
    const claims = token.split('.')[1].replaceAll('-', '+').replaceAll('_', '/');
    const bytes = Uint8Array.from(atob(claims), (character) => character.charCodeAt(0));
    const { sub } = JSON.parse(new TextDecoder().decode(bytes));
    return typeof sub === 'string' ? sub : '';
  } catch {
    return '';
  }
}

// What is wrong with who we are, if that is why the connection is closed.
export function tokenWanted({ name, code }, token) {
  if (name !== 'closed') return '';
  if (code === ERROR_EXPIRED) return 'Your token has expired';
  if (code !== CLOSE_REFUSED) return '';
  return token ? 'The server does not take this token' : 'This server asks for a token';
}
