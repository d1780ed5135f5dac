// A browser for the tests of the pages: playwright-core drives the Chromium whose program is the first argument. Reads one
// JSON order a line, and answers each with a line as soon as it is done:
//   {"id": 1, "open": {…}}                                     → the number of a tab, in a context with these options
//   {"id": 2, "beside": TAB}                                   → the number of another tab in the context of that one
//   {"id": 3, "tab": TAB, "do": "keyboard.press", "with": […]} → what playwright's Page answers to that method
//   {"id": 4, "tab": TAB, "axe": "SELECTOR"}                   → axe-core's violations below what is selected
//   {"id": 5, "tab": TAB, "heard": true}                       → what went wrong in the tab so far, and whom it called
//   {"id": 6, "tab": TAB, "close": true}                       → closes its context
// An answer is {"id": …, "done": …} or {"id": …, "failed": TEXT}. The browser ends with the orders.
import { createInterface } from 'node:readline'
import axe from '../../../.tools/node/node_modules/axe-core/axe.js'
import { chromium } from '../../../.tools/node/node_modules/playwright-core/index.mjs'

const PATIENCE = 60_000
const [executablePath] = process.argv.slice(2)
const browser = await chromium.launch({
  executablePath,
  chromiumSandbox: false,
  args: ['--disable-gpu', '--disable-quic', '--disable-component-update', '--disable-sync'],
})

const tabs = new Map()
let opened = 0

// Runs in every page before its own scripts: what its element has said, when, and how many passes stood beside it.
const listen = () => {
  const said = []
  window.saidSoFar = said
  const note = () => {
    const element = document.querySelector('surepass-passes')
    if (!element) return
    const message = (element.shadowRoot || element).querySelector('[data-message]')
    const entry = {
      state: element.dataset.state || '',
      message: message ? message.textContent.trim() : '',
      passes: document.querySelectorAll('#passes .pass').length,
    }
    const last = said[said.length - 1]
    if (last && Object.keys(entry).every((key) => entry[key] === last[key])) return
    said.push({ at: performance.timeOrigin + performance.now(), ...entry })
  }
  const changes = { attributes: true, characterData: true, childList: true, subtree: true }
  new MutationObserver(note).observe(document, changes)
}

function newTab(page) {
  const tab = { page, troubles: [], origins: new Set() }
  page.on('console', (message) => {
    if (message.type() === 'error') tab.troubles.push(`console: ${message.text()} ${message.location().url}`)
  })
  page.on('pageerror', (error) => tab.troubles.push(`script: ${error.message}`))
  page.on('crash', () => tab.troubles.push('the page crashed'))
  page.on('dialog', (dialog) => {
    tab.troubles.push(`dialog: ${dialog.message()}`)
    dialog.dismiss()
  })
  page.on('request', (request) => tab.origins.add(new URL(request.url()).origin))
  opened += 1
  tabs.set(opened, tab)
  return opened
}

// What can go over the wire of a thing of playwright's.
function plain(value) {
  if (typeof value?.status === 'function') return { status: value.status(), url: value.url() }
  return typeof value?.dispose === 'function' || Buffer.isBuffer(value) ? null : (value ?? null)
}

async function obey(order) {
  if (order.open) {
    const context = await browser.newContext(order.open)
    context.setDefaultTimeout(PATIENCE)
    await context.addInitScript(listen)
    return newTab(await context.newPage())
  }
  if (order.beside) return newTab(await tabs.get(order.beside).page.context().newPage())
  const tab = tabs.get(order.tab)
  if (order.heard) return { troubles: tab.troubles, origins: [...tab.origins] }
  if (order.close) return tab.page.context().close()
  if (order.axe) {
    await tab.page.evaluate(axe.source)
    const { violations } = await tab.page.evaluate((selector) => window.axe.run(selector), order.axe)
    return violations.map(({ id, help, nodes }) => ({ id, help, nodes: nodes.map(({ html, failureSummary }) => ({ html, failureSummary })) }))
  }
  const path = order.do.split('.')
  const method = path.pop()
  let owner = tab.page
  for (const name of path) owner = typeof owner[name] === 'function' ? owner[name]() : owner[name]
  for (let tries = 1; ; tries++) {
    try {
      return plain(await owner[method](...(order.with ?? [])))
    } catch (error) {
      // A page that loads itself anew, as one without JavaScript does, may do so in the middle of a question.
      const isGone = method === 'evaluate' && String(error).includes('Execution context was destroyed')
      if (!isGone || tries === 3) throw error
    }
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line)
  obey(order).then(
    (done) => console.log(JSON.stringify({ id: order.id, done: done ?? null })),
    (error) => console.log(JSON.stringify({ id: order.id, failed: String(error?.stack ?? error) })),
  )
}
await browser.close()
