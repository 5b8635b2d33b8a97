#!/usr/bin/env bash
# node-web-audio-api plays a clip too loud before a fade-out, by a factor without any bound.
#
# Expected: `gain.setTargetAtTime(0, T, tau)` leaves the gain alone until T seconds, and from there
# on it falls by e in each tau seconds. web-audio-api, a second implementation, does so.
# Seen: the curve is computed backwards for the time before T. One constant, e^((T - t0) / tau),
# takes the place of the gain from the end of the event before it (or from the second block of 128
# samples) until T. A clip with a linear fade-in and a fade-out comes out 134 times too loud in the
# middle; with T = 5 and tau = 0.1 the factor is 5e21. From T on the gain is right. There is no
# error, and no sample is NaN. A setValueAtTime at T, before the fade-out, is a way around it. The
# older 1.0.9, made for Node 14 and later, does the same.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# The Node.js that the first package asks for.
npm install --silent --no-audit --no-fund --prefix "$folder/node" node@22.23.3
npm install --silent --no-audit --no-fund --prefix "$folder/one" node-web-audio-api@2.2.0
npm install --silent --no-audit --no-fund --prefix "$folder/two" web-audio-api@1.5.6
cat > "$folder/try.mjs" <<'J'
import fs from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const folder = process.argv[2];
const RATE = 32_000;
const SECONDS = 6;
const AT = { "0.003 s": 96, "0.05 s": 1600, "0.5 s": 16_000, "3 s": 96_000, "4.99 s": 159_680, "5 s": 160_000, "5.1 s": 163_200 };
const FADES = {
  "fade-out alone": (gain) => gain.setTargetAtTime(0, 5, 0.1),
  "fade-in and fade-out": (gain) => {
    gain.setValueAtTime(0, 0);
    gain.linearRampToValueAtTime(1, 0.1);
    gain.setTargetAtTime(0, 5, 1);
  },
  "fade-in, set, fade-out": (gain) => {
    gain.setValueAtTime(0, 0);
    gain.linearRampToValueAtTime(1, 0.1);
    gain.setValueAtTime(1, 5);
    gain.setTargetAtTime(0, 5, 1);
  },
};

async function load(place, name) {
  const found = createRequire(`${folder}/${place}/package.json`).resolve(name);
  const version = JSON.parse(fs.readFileSync(`${folder}/${place}/node_modules/${name}/package.json`)).version;
  return { name: `${name} ${version}`, api: await import(pathToFileURL(found)) };
}

async function render(api, fade) {
  const context = new api.OfflineAudioContext(1, RATE * SECONDS, RATE);
  const source = context.createConstantSource();
  const volume = context.createGain();
  fade(volume.gain);
  source.connect(volume).connect(context.destination);
  source.start();
  return (await context.startRendering()).getChannelData(0);
}

const peaks = {};
const afterwards = [];
for (const { name, api } of [await load("one", "node-web-audio-api"), await load("two", "web-audio-api")]) {
  console.log(name);
  for (const [label, fade] of Object.entries(FADES)) {
    const sound = await render(api, fade);
    const shown = Object.entries(AT).map(([when, index]) => `${when}: ${sound[index].toPrecision(4)}`);
    console.log(`  ${label}: the gain is ${shown.join(", ")}`);
    const peak = sound.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    peaks[`${name.split(" ")[0]}, ${label}`] = Number(peak.toPrecision(3));
    const tau = label === "fade-out alone" ? 0.1 : 1;
    const right = Math.exp(-0.1 / tau);
    afterwards.push(Math.abs(sound[AT["5.1 s"]] - right) < 1e-3 && Math.abs(sound[AT["5 s"]] - 1) < 1e-3);
  }
}
console.log("highest gain:", peaks);
const near = (key, value) => Math.abs(peaks[key] / value - 1) < 0.02;
const right =
  near("node-web-audio-api, fade-out alone", Math.exp((5 - 128 / RATE) / 0.1)) &&
  near("node-web-audio-api, fade-in and fade-out", Math.exp(4.9)) &&
  ["node-web-audio-api, fade-in, set, fade-out", ...Object.keys(FADES).map((label) => `web-audio-api, ${label}`)].every(
    (key) => near(key, 1),
  );
process.exit(right && afterwards.every(Boolean) ? 0 : 1);
J
node=$folder/node/node_modules/node/bin/node
"$node" --version
"$node" "$folder/try.mjs" "$folder"
