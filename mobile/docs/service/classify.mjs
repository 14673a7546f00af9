// node classify.mjs SCAN...: print each answer as one line of JSON (Node.js 18 or later).
// A page in a browser may call the service only if both have the same origin, such as behind one nginx.
import { readFile } from "node:fs/promises";
import { basename } from "node:path";

const server = process.env.SONOFORGE ?? "http://localhost:8765";

async function classify(name, bytes, tries = 10) {
  const url = `${server}/classify?${new URLSearchParams({ name })}`;
  for (;;) {
    const answer = await fetch(url, { method: "POST", body: bytes });
    const wait = answer.headers.get("Retry-After"); // the queue is full, or it is ending
    if (!wait || --tries <= 0) return answer.json(); // or {"ok": false, "error": {"code", "message"}}
    await new Promise((resolve) => setTimeout(resolve, 1000 * wait));
  }
}

for (const scan of process.argv.slice(2)) {
  console.log(JSON.stringify(await classify(basename(scan), await readFile(scan))));
}
