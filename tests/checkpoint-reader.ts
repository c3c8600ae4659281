import { Worker } from 'node:worker_threads';

/** What a reader of the checkpoint files saw meanwhile. */
export interface Readings {
  /** How many different checkpoints, by their counts. */
  whole: number;
  /** The beginnings of what was no whole checkpoint. */
  torn: string[];
}

/** In a thread of its own, so that it reads while the test waits; plain JavaScript, because a worker runs no other. */
const reader = `
  const { readdirSync, readFileSync } = require('node:fs');
  const { parentPort, workerData } = require('node:worker_threads');
  const counts = new Set();
  const torn = [];
  function read() {
    for (const name of readdirSync(workerData)) {
      if (!/^checkpoint_[a-z]+[.]json$/.test(name)) continue;
      const text = readFileSync(workerData + '/' + name, 'utf8');
      try {
        counts.add(JSON.parse(text).count);
      } catch {
        torn.push(name + ': ' + text.slice(0, 60));
      }
    }
  }
  const timer = setInterval(read, 1);
  parentPort.postMessage('reading');
  parentPort.on('message', () => {
    clearInterval(timer);
    parentPort.postMessage({ whole: counts.size, torn });
    parentPort.close();
  });
`;

/** Reads the checkpoints of a folder over and over until `stop`, which returns what was seen. */
export async function watchWholeness(directory: string): Promise<{ stop(): Promise<Readings> }> {
  const worker = new Worker(reader, { eval: true, workerData: directory });
  const message = () =>
    new Promise<Readings>((resolve, reject) => void worker.once('message', resolve).once('error', reject));
  await message();
  return {
    stop: async () => {
      worker.postMessage('stop');
      return await message();
    },
  };
}
