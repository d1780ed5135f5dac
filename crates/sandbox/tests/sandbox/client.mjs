// Walks through the sandbox with Stripe's own library for Node. The address is the first argument. Every step asserts; the
// number of steps is printed at the end.
import assert from 'node:assert/strict';
import {createServer} from 'node:http';
import {once} from 'node:events';
import {createRequire} from 'node:module';

const require = createRequire(new URL('../../../../.tools/node/', import.meta.url));
const Stripe = require('stripe');
const base = new URL(process.argv[2]);
const at = {host: base.hostname, port: base.port, protocol: 'http'};
const stripe = new Stripe('sk_test_node', {...at, maxNetworkRetries: 0});

let steps = 0;
const step = async (name, walk) => {
  try {
    await walk();
  } catch (error) {
    throw new Error(`${name}: ${error.stack}`);
  }
  steps += 1;
};
const control = async (method, path, order) => {
  const answer = await fetch(new URL(`/_sandbox/${path}`, base), {
    method,
    headers: {'content-type': 'application/json'},
    body: order && JSON.stringify(order),
  });
  assert.ok(answer.ok, `${path}: ${answer.status}`);
  return answer.status === 204 ? undefined : answer.json();
};

const letters = [];
const hook = createServer(async (request, response) => {
  const parts = [];
  for await (const part of request) parts.push(part);
  letters.push({body: Buffer.concat(parts), signature: request.headers['stripe-signature']});
  response.end('{}');
}).listen(0, '127.0.0.1');
await once(hook, 'listening');

let customer, price, session, endpoint;

await step('an endpoint, a customer, a product, a price', async () => {
  endpoint = await stripe.webhookEndpoints.create({
    url: `http://127.0.0.1:${hook.address().port}/hook`,
    enabled_events: ['checkout.session.completed', 'charge.refunded'],
    api_version: Stripe.API_VERSION,
  });
  customer = await stripe.customers.create({email: 'Kari@example.com', name: 'Kari', metadata: {user: 'user_1'}});
  assert.equal((await stripe.customers.list({email: 'Kari@example.com'})).data[0].id, customer.id);
  const product = await stripe.products.create({name: '10 classes'});
  price = await stripe.prices.create({product: product.id, unit_amount: 150000, currency: 'nok'});
  assert.equal(price.unit_amount, 150000);
});

await step('a session is created, paid on its page, and told of by a webhook that the library verifies', async () => {
  session = await stripe.checkout.sessions.create({
    mode: 'payment',
    customer: customer.id,
    line_items: [
      {price: price.id, quantity: 1},
      {price_data: {currency: 'nok', unit_amount: 5000, product_data: {name: 'Fee & søt'}}, quantity: 2},
    ],
    metadata: {type: 'pass_purchase', passId: 'pass-10', 'odd key': 'a=b&c'},
    client_reference_id: 'user_1',
    payment_intent_data: {metadata: {passId: 'pass-10'}},
    success_url: 'https://example.com/done?id={CHECKOUT_SESSION_ID}',
    cancel_url: 'https://example.com/',
  });
  assert.equal(session.amount_total, 160000);
  assert.deepEqual(session.metadata, {type: 'pass_purchase', passId: 'pass-10', 'odd key': 'a=b&c'});
  const paid = await fetch(session.url, {
    method: 'POST',
    body: new URLSearchParams({pay: 'card'}),
    redirect: 'manual',
  });
  assert.equal(paid.status, 303);
  assert.equal(paid.headers.get('location'), `https://example.com/done?id=${session.id}`);
  const event = stripe.webhooks.constructEvent(letters[0].body, letters[0].signature, endpoint.secret);
  assert.equal(event.type, 'checkout.session.completed');
  assert.equal(event.data.object.id, session.id);
  assert.equal(event.api_version, Stripe.API_VERSION);
  assert.equal(event.pending_webhooks, 1);
});

await step('retrieved, expanded, with its line items and its charge', async () => {
  const got = await stripe.checkout.sessions.retrieve(session.id, {
    expand: ['line_items', 'payment_intent.latest_charge', 'customer'],
  });
  assert.equal(got.line_items.data[0].price.id, price.id);
  assert.equal(got.line_items.data[1].description, 'Fee & søt');
  assert.equal(got.payment_intent.latest_charge.amount, 160000);
  assert.equal(got.payment_intent.metadata.passId, 'pass-10');
  assert.equal(got.customer.email, 'Kari@example.com');
  const items = await stripe.checkout.sessions.listLineItems(session.id, {limit: 1});
  assert.equal(items.has_more, true);
});

await step('auto-paging sees every session once, with every filter', async () => {
  const {sessions} = await control('POST', 'purchases', {count: 230, customers: 3, webhooks: 'lose'});
  const seen = new Set();
  const query = {limit: 100, status: 'complete', expand: ['data.line_items'], created: {gte: sessions[0].created - 3600}};
  for await (const one of stripe.checkout.sessions.list(query)) seen.add(one.id);
  assert.equal(seen.size, 231);
  const ofOne = await stripe.checkout.sessions
    .list({customer_details: {email: 'BUYER1@example.com'}, limit: 50})
    .autoPagingToArray({limit: 1000});
  assert.equal(ofOne.length, 77);
  const byIntent = await stripe.checkout.sessions.list({payment_intent: sessions[5].payment_intent});
  assert.equal(byIntent.data[0].id, sessions[5].id);
});

await step('events, oldest first from the last one seen', async () => {
  const newest = await stripe.events.list({types: ['checkout.session.completed'], limit: 3});
  const before = [];
  const query = {types: ['checkout.session.completed'], ending_before: newest.data[2].id, limit: 1};
  for await (const event of stripe.events.list(query)) before.push(event.id);
  assert.deepEqual(before, [newest.data[1].id, newest.data[0].id]);
  assert.equal((await stripe.events.list({delivery_success: false})).data.length, 0);
  assert.equal((await stripe.events.retrieve(newest.data[0].id)).type, 'checkout.session.completed');
});

await step('a refund', async () => {
  const {payment_intent: intent} = await stripe.checkout.sessions.retrieve(session.id);
  const refund = await stripe.refunds.create({payment_intent: intent, amount: 10000, reason: 'requested_by_customer'});
  assert.equal(refund.status, 'succeeded');
  const {latest_charge: charge} = await stripe.paymentIntents.retrieve(intent, {expand: ['latest_charge']});
  assert.equal(charge.amount_refunded, 10000);
  assert.equal(charge.refunded, false);
  await control('GET', 'deliveries?wait=30');
  assert.equal(JSON.parse(letters.at(-1).body).type, 'charge.refunded');
});

await step('a bank transfer that settles', async () => {
  const slow = await stripe.checkout.sessions.create({
    mode: 'payment',
    customer_email: 'ola@example.com',
    payment_method_types: ['card', 'sepa_debit'],
    line_items: [{price: price.id, quantity: 1}],
    success_url: 'https://example.com/done',
  });
  await fetch(slow.url, {method: 'POST', body: new URLSearchParams({pay: 'transfer'}), redirect: 'manual'});
  assert.equal((await stripe.checkout.sessions.retrieve(slow.id)).payment_status, 'unpaid');
  await control('POST', `sessions/${slow.id}/settle`, {arrives: true});
  assert.equal((await stripe.checkout.sessions.retrieve(slow.id)).payment_status, 'paid');
});

await step('a connected account sees its own', async () => {
  const {id} = await stripe.accounts.create({type: 'standard', email: 'school@example.com'});
  const school = {stripeAccount: id};
  await stripe.customers.create({email: 'elev@example.com'}, school);
  assert.equal((await stripe.customers.list({}, school)).data.length, 1);
  assert.equal((await stripe.customers.list({email: 'elev@example.com'})).data.length, 0);
});

await step('errors are of the classes that the library has for them', async () => {
  const fails = async (call, type, code, status) => {
    const error = await call().then(() => assert.fail('it went well'), (error) => error);
    assert.deepEqual([error.type, error.code, error.statusCode], [type, code, status]);
    assert.ok(error.requestId.startsWith('req_'));
    return error;
  };
  await fails(() => stripe.checkout.sessions.retrieve('cs_none'), 'StripeInvalidRequestError', 'resource_missing', 404);
  const missing = await fails(
    () => stripe.checkout.sessions.create({mode: 'payment'}),
    'StripeInvalidRequestError',
    'parameter_missing',
    400,
  );
  assert.equal(missing.param, 'success_url');
  const keyless = new Stripe('rubbish', at);
  await fails(() => keyless.customers.list(), 'StripeAuthenticationError', undefined, 401);
  const reader = new Stripe('rk_test_reader', at);
  await fails(() => reader.customers.create({}), 'StripePermissionError', undefined, 403);
  const keyed = {idempotencyKey: 'key-of-node'};
  const made = await stripe.customers.create({email: 'a@b.no'}, keyed);
  assert.equal((await stripe.customers.create({email: 'a@b.no'}, keyed)).id, made.id);
  await fails(() => stripe.customers.create({email: 'c@d.no'}, keyed), 'StripeIdempotencyError', undefined, 400);
  await control('PUT', 'faults', {api: {rate_limited: 100}});
  await fails(() => stripe.customers.list(), 'StripeRateLimitError', 'rate_limit', 429);
  await control('PUT', 'faults', {api: {error: 100}});
  await fails(() => stripe.customers.list(), 'StripeAPIError', undefined, 500);
  await control('DELETE', 'faults');
});

await step('the library tries again by itself where a call fails twice', async () => {
  const patient = new Stripe('sk_test_node', {...at, maxNetworkRetries: 2});
  await control('PUT', 'faults', {api: {once: [{path: '/v1/customers', nth: 1, times: 2, fault: 'error'}]}});
  assert.ok((await patient.customers.list()).data.length > 0);
  // A body that breaks off is left to Python's library: Node's waits for the rest for ever.
  await control('DELETE', 'faults');
});

console.log(`${steps} steps`);
// Connections that are kept alive would keep the process, too.
process.exit();
