/**
 * Records the microphone as a sound for the form. Browsers record in containers that a server may
 * not read, so the recording becomes a wav file here.
 */

import { $, setText } from "./dom.js";
import { FieldError, clearErrors, showFieldError } from "./form.js";
import { say } from "./language.js";
import { takeSound } from "./sound.js";
import { clock } from "./words.js";

const LONGEST_SECONDS = 300;
const TROUBLES = {
  NotAllowedError: say("microphone.not-allowed"),
  NotFoundError: say("microphone.not-found"),
};
let recording = null;

async function start() {
  clearErrors();
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  const recorder = new MediaRecorder(stream);
  const blocks = [];
  recorder.addEventListener("dataavailable", (event) => blocks.push(event.data));
  recorder.addEventListener("stop", () => {
    for (const track of stream.getTracks()) track.stop();
    clearInterval(recording.timer);
    recording = null;
    setText($("record"), say("microphone.record"));
    take(new Blob(blocks, { type: recorder.mimeType })).catch(showTrouble);
  });
  const began = Date.now();
  const showTime = () => {
    const seconds = (Date.now() - began) / 1000;
    setText($("record"), say("microphone.stop", { time: clock(seconds) }));
    if (seconds >= LONGEST_SECONDS) recorder.stop();
  };
  recording = { recorder, timer: setInterval(showTime, 500) };
  recorder.start();
  showTime();
}

async function take(blob) {
  const context = new AudioContext();
  try {
    const sound = await context.decodeAudioData(await blob.arrayBuffer());
    await takeSound(toWav(sound), say("microphone.name"));
  } finally {
    await context.close();
  }
}

/** A wav file of 16 bit with the channels of an AudioBuffer. */
function toWav(sound) {
  const channels = sound.numberOfChannels;
  const size = sound.length * channels * 2;
  const view = new DataView(new ArrayBuffer(44 + size));
  const tag = (offset, text) => {
    for (let n = 0; n < text.length; n += 1) view.setUint8(offset + n, text.charCodeAt(n));
  };
  tag(0, "RIFF");
  view.setUint32(4, 36 + size, true);
  tag(8, "WAVE");
  tag(12, "fmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, channels, true);
  view.setUint32(24, sound.sampleRate, true);
  view.setUint32(28, sound.sampleRate * channels * 2, true);
  view.setUint16(32, channels * 2, true);
  view.setUint16(34, 16, true);
  tag(36, "data");
  view.setUint32(40, size, true);
  const parts = Array.from({ length: channels }, (_, channel) => sound.getChannelData(channel));
  let offset = 44;
  for (let n = 0; n < sound.length; n += 1) {
    for (const samples of parts) {
      view.setInt16(offset, Math.max(-1, Math.min(1, samples[n])) * 0x7fff, true);
      offset += 2;
    }
  }
  return new Blob([view], { type: "audio/wav" });
}

function showTrouble(error) {
  // A refused upload is shown by `takeSound`.
  if (error instanceof FieldError || error.status !== undefined) return;
  clearErrors();
  showFieldError("input_audio", TROUBLES[error.name] ?? say("microphone.failed"));
}

/** Shows the button where the browser has a microphone for pages: https, or this machine. */
export function startMicrophone() {
  const button = $("record");
  button.hidden = !navigator.mediaDevices || !window.MediaRecorder;
  button.addEventListener("click", () => {
    if (recording) recording.recorder.stop();
    else start().catch(showTrouble);
  });
}
