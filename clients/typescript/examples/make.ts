// Make a clip, hear of it, and delete it: node make.js URL [KEY]
import { createMusicGenClient, download, generate, MusicGenError } from "../src/index.js";

declare const process: { argv: string[] };

const [, , url = "http://127.0.0.1:8000", key] = process.argv;
const client = createMusicGenClient(url, key);

const progress: number[] = [];
const { status, clips } = await generate(
  client,
  { prompt: "calm piano", duration: 1, seed: 7, output_format: "wav" },
  { pollSeconds: 0.1, onStatus: (each) => progress.push(each.progress) },
);
const [clip] = clips;
if (clip === undefined) throw new Error("The job has no clip.");

// The same clip in another format, and a call that the server refuses.
const ogg = await download(client, `${status.job_id}.ogg`);
const refusal = await download(client, `${status.job_id}-2.wav`).catch((error: unknown) => error);
if (!(refusal instanceof MusicGenError)) throw new Error("A clip that is not there was sent.");

const { response } = await client.DELETE("/v1/jobs/{job_id}", {
  params: { path: { job_id: status.job_id } },
});
console.log(
  JSON.stringify({
    job_id: status.job_id,
    sha256: status.result?.clips[0]?.sha256,
    seed: status.result?.seed,
    licence: status.result?.licence,
    request: status.request,
    progress: progress.at(-1),
    head: new TextDecoder("latin1").decode(clip.slice(0, 4)),
    bytes: clip.length,
    ogg: new TextDecoder("latin1").decode(ogg.slice(0, 4)),
    refusal: { code: refusal.code, status: refusal.status },
    deleted: response.status,
  }),
);
