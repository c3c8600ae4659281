import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { neededProgram } from './needed-program.js';

const openssl = neededProgram('openssl');

/** Whether a certificate can be had here. An error in CI if not. */
export const hasOpenssl = openssl !== undefined;

/** A key and a certificate of 127.0.0.1 that nobody vouches for, for createServer of node:https. */
export function selfSignedCertificate(): { key: string; cert: string } {
  const folder = mkdtempSync(join(tmpdir(), 'certificate-'));
  const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')];
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', key];
  const request = ['req', '-x509', ...newKey, '-subj', '/CN=127.0.0.1', '-days', '2', '-out', cert];
  try {
    execFileSync(openssl ?? '', request, { stdio: 'ignore' });
    return { key: readFileSync(key, 'utf8'), cert: readFileSync(cert, 'utf8') };
  } finally {
    rmSync(folder, { recursive: true });
  }
}
