/*
 * Keeps the whole app on the device, so that it works without a network.
 *
 * `FILES` and `VERSION` are written by `sonoforge mobile build`: the SHA-256 of each file, and of the list.  A file is
 * kept only if it has that hash, so a half-updated server cannot mix two versions.
 */
"use strict";

const VERSION = "@VERSION@";
const FILES = {/*FILES*/};
const CACHE = `sonoforge-${VERSION}`;

self.addEventListener("install", (event) => event.waitUntil(keepAll()));

async function keepAll() {
  const cache = await caches.open(CACHE);
  const old = await Promise.all((await earlier()).map((name) => caches.open(name)));
  await Promise.all(
    Object.entries(FILES).map(async ([name, expected]) => {
      const address = new URL(name, self.registration.scope).href;
      // What an earlier version has under the same hash is not loaded again: the model, mostly.
      for (const other of old) {
        const kept = await other.match(address);
        if (kept && (await sha256(kept.clone())) === expected) return cache.put(address, kept);
      }
      const answer = await fetch(address, { cache: "no-store" });
      if (!answer.ok || (await sha256(answer.clone())) !== expected) throw new Error(`${name}: not of version ${VERSION}`);
      return cache.put(address, answer);
    }),
  );
}

/** Return the names of other versions' caches. */
const earlier = async () => (await caches.keys()).filter((name) => name.startsWith("sonoforge-") && name !== CACHE);

async function sha256(answer) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", await answer.arrayBuffer()));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

self.addEventListener("activate", (event) => event.waitUntil(takeOver()));

async function takeOver() {
  await Promise.all((await earlier()).map((name) => caches.delete(name)));
  await self.clients.claim();
}

self.addEventListener("message", (event) => {
  if (event.data === "activate") self.skipWaiting();
});

self.addEventListener("fetch", (event) => {
  const address = new URL(event.request.url);
  if (event.request.method !== "GET" || address.origin !== self.location.origin) return;
  event.respondWith(fromCache(event.request));
});

async function fromCache(request) {
  const cache = await caches.open(CACHE);
  const name = request.url.slice(self.registration.scope.length).split(/[?#]/)[0];
  const isOther = request.mode === "navigate" && !(name in FILES);
  const page = isOther ? new URL("index.html", self.registration.scope).href : request;
  return (await cache.match(page, { ignoreSearch: true })) ?? fetch(request);
}
