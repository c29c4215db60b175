// Tokens as a back end signs them, and as somebody forges them: nothing but node:crypto.

import { createHmac, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';

export const SECRET = 'a-secret-of-the-tests-32-bytes-or-more';
export const WITH_SECRET = { 'tokens.hmac_secret': SECRET };

const encoded = (json) => Buffer.from(JSON.stringify(json)).toString('base64url');
// What stands in tests/keys.
const keyFile = (name) => new URL(`../../keys/${name}.pem`, import.meta.url);

const SIGNATURES = {
  HS256: (text, secret) => createHmac('sha256', secret).update(text).digest(),
  RS256: (text, key) => sign('sha256', text, key),
  ES256: (text, key) => sign('sha256', text, { key, dsaEncoding: 'ieee-p1363' }),
  EdDSA: (text, key) => sign(null, text, key),
  none: () => Buffer.alloc(0),
};

export function token(claims, { alg = 'HS256', key = SECRET } = {}) {
  const signed = `${encoded({ alg, typ: 'JWT' })}.${encoded(claims)}`;
  return `${signed}.${SIGNATURES[alg](Buffer.from(signed), key).toString('base64url')}`;
}

export const pathOf = (name) => keyFile(name).pathname;
export const textOf = (name) => readFileSync(keyFile(name), 'utf8');

// A time in a token: seconds since 1970, whole ones.
export const inSeconds = (seconds) => Math.floor(Date.now() / 1000) + seconds;

// What an SDK asks for tokens: it signs these claims, ever anew, and counts.
export function backend(claims) {
  const getToken = async (context) => {
    getToken.calls++;
    getToken.context = context;
    const made = claims(getToken.calls);
    if (made instanceof Error) throw made;
    return token(made);
  };
  getToken.calls = 0;
  return getToken;
}
