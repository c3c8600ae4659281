import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { SeasonOptions } from '../demo/season.js';
import { password, username } from './world.js';

export interface SimulatorSettings {
  season: SeasonOptions;
  username: string;
  password: string;
  /** Every such call is answered with 500. */
  failEvery?: number;
}

/** A call as it arrived: when, in milliseconds of a clock of its own, and for what. */
export interface Arrival {
  at: number;
  path: string;
}

export type Simulator = Awaited<ReturnType<typeof startSimulator>>;

/** The simulated Racing API, without a rate limit. In a process of its own nothing but the calls themselves keeps it from noting when they arrive. */
export async function startSimulator(settings: Pick<SimulatorSettings, 'season' | 'failEvery'>) {
  const script = fileURLToPath(new URL('./simulator-process.ts', import.meta.url));
  const argument = JSON.stringify({ ...settings, username, password });
  const child = fork(script, [argument], { execArgv: ['--import', 'tsx'] });
  return {
    url: (await once(child, 'message'))[0].url as string,
    arrivals: async (): Promise<Arrival[]> => {
      child.send('arrivals');
      return (await once(child, 'message'))[0].calls;
    },
    close: () => child.disconnect(),
  };
}
