// Runs checks, functions by their names: all of them, or those that the arguments name. Every check prints one JSON line
// {"check", "ok", ...}; the process exits non-zero if one failed.

export async function report(checks) {
  const only = process.argv.slice(2);
  let failures = 0;
  for (const [check, body] of Object.entries(checks)) {
    if (only.length > 0 && !only.includes(check)) continue;
    const started = performance.now();
    let error;
    try {
      await body();
    } catch (thrown) {
      failures += 1;
      error = thrown?.stack ?? JSON.stringify(thrown);
    }
    const ms = Math.round(performance.now() - started);
    console.log(JSON.stringify({ check, ok: error === undefined, ms, ...(error && { error }) }));
  }
  process.exitCode = failures === 0 ? 0 : 1;
}
