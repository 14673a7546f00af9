// A page opened as a file may start no worker. Search asks for one: here it is a hidden frame that runs the same script.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(script) {
      super()
      const frame = document.createElement("iframe")
      frame.hidden = true
      this.inside = new Promise((ready) => {
        frame.onload = async () => {
          const inside = frame.contentWindow
          inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }))
          inside.importScripts = async (...urls) => {
            for (const url of urls) await load(inside.document, url)
          }
          await inside.importScripts(script)
          ready(inside)
        }
      })
      const start = () => document.body.append(frame)
      document.body ? start() : addEventListener("DOMContentLoaded", start)
    }
    async postMessage(data) {
      const inside = await this.inside
      inside.dispatchEvent(new MessageEvent("message", { data }))
    }
  }
  const load = (page, url) =>
    new Promise((done, failed) => {
      const script = page.createElement("script")
      Object.assign(script, { src: url, onload: done, onerror: failed })
      page.head.append(script)
    })
}
