// A sign-in service as its customers' tokens show it: npm's `jose` makes the keys and signs. Reads one JSON order a line, and
// answers each with a line:
//   {"key": NAME, "alg": "RS256"}                       → the public key as a JWK, with `kid` NAME
//   {"sign": NAME, "claims": {…}, "header": {…}}        → a token signed with that key; its header says `kid` NAME
//   {"secret": TEXT, "claims": {…}, "header": {…}}      → a token signed with HS256 and that secret
//   {"confused": NAME, "claims": {…}}                   → HS256 with the public key NAME, as PEM, for a secret
//   {"unsigned": {…}}                                   → a token with `alg` none
import { createInterface } from 'node:readline'
import * as jose from '../../.tools/node/node_modules/jose/dist/webapi/index.js'

const keys = new Map()
const bytes = (text) => new TextEncoder().encode(text)
const sign = (claims, header, key) => new jose.SignJWT(claims).setProtectedHeader(header).sign(key)

async function answer(order) {
  if (order.key) {
    const pair = await jose.generateKeyPair(order.alg, { extractable: true })
    keys.set(order.key, { alg: order.alg, ...pair })
    return { ...(await jose.exportJWK(pair.publicKey)), kid: order.key, alg: order.alg, use: 'sig' }
  }
  if (order.sign) {
    const { alg, privateKey } = keys.get(order.sign)
    return sign(order.claims, { alg, kid: order.sign, ...order.header }, privateKey)
  }
  if (order.secret) return sign(order.claims, { alg: 'HS256', ...order.header }, bytes(order.secret))
  if (order.confused) {
    const pem = await jose.exportSPKI(keys.get(order.confused).publicKey)
    return sign(order.claims, { alg: 'HS256', kid: order.confused }, bytes(pem))
  }
  if (order.unsigned) return new jose.UnsecuredJWT(order.unsigned).encode()
  throw new Error('no such order')
}

for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await answer(JSON.parse(line))))
}
