import { Worker } from 'node:worker_threads';

/** What a reader of the checkpoint files saw meanwhile. */
export interface Readings {
  whole: number;
  /** The beginnings of what was no whole JSON. */
  torn: string[];
}

/** In a thread of its own, so that it reads while the test waits; plain JavaScript, because a worker runs no other. */
const reader = `
  const { readdirSync, readFileSync } = require('node:fs');
  const { parentPort, workerData } = require('node:worker_threads');
  const readings = { whole: 0, torn: [] };
  const timer = setInterval(() => {
    for (const name of readdirSync(workerData)) {
      if (!/^checkpoint_[a-z]+[.]json$/.test(name)) continue;
      const text = readFileSync(workerData + '/' + name, 'utf8');
      try {
        JSON.parse(text);
        readings.whole += 1;
      } catch {
        readings.torn.push(name + ': ' + text.slice(0, 60));
      }
    }
  }, 1);
  parentPort.on('message', () => {
    clearInterval(timer);
    parentPort.postMessage(readings);
    parentPort.close();
  });
`;

/** Reads the checkpoints of a folder over and over until `stop`, which returns what was seen. */
export function watchWholeness(directory: string): { stop(): Promise<Readings> } {
  const worker = new Worker(reader, { eval: true, workerData: directory });
  return {
    stop: () =>
      new Promise((resolve, reject) => {
        worker.once('message', resolve).once('error', reject);
        worker.postMessage('stop');
      }),
  };
}
