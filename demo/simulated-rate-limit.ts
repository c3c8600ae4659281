/**
 * Makes a check that admits so many calls in any rolling second and no more; refused calls do not count.
 * @param toleranceMs The second is shorter by this, so that jitter on the way does not make a call early.
 */
export function makeRateLimit(toleranceMs: number): (at: number, requestsPerSecond: number) => boolean {
  let admitted: number[] = [];
  return (at, requestsPerSecond) => {
    if (requestsPerSecond === Number.POSITIVE_INFINITY) return true;
    // Half a request a second is one in two seconds.
    const most = Math.max(1, Math.floor(requestsPerSecond));
    const windowMs = (1000 * most) / requestsPerSecond - toleranceMs;
    admitted = admitted.filter((earlier) => at - earlier < windowMs);
    if (admitted.length >= most) return false;
    admitted.push(at);
    return true;
  };
}
