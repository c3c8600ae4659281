import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';

/**
 * Claims a data folder for this process, because PGlite lets two processes open (and ruin) the same one.
 * A claim left behind by a killed process counts for nothing. Returns the function that gives the folder back.
 */
export async function claimFolder(dataDir: string | undefined): Promise<() => Promise<void>> {
  if (dataDir === undefined) return async () => undefined;
  const claimFile = `${dataDir}.pid`;
  const owner = Number(await readFile(claimFile, 'utf8').catch(() => ''));
  if (owner && owner !== process.pid && isRunning(owner)) {
    throw new Error(
      `${dataDir} is in use by process ${owner}: stop it, or delete ${claimFile} if it is another program`,
    );
  }
  await mkdir(dataDir, { recursive: true });
  await writeFile(claimFile, String(process.pid));
  return () => rm(claimFile, { force: true });
}

function isRunning(processId: number): boolean {
  try {
    process.kill(processId, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
