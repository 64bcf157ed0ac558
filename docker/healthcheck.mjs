// Asks the process of this container whether it is well: exit code 0 when the path given as argument
// answers with a 2xx within 4 seconds, 1 otherwise. The images have no shell and no curl.
const port = process.env.SIMULATOR_PORT ?? process.env.PORT;
const path = process.argv[2] ?? '/health/live';
try {
  const answer = await fetch(`http://127.0.0.1:${port}${path}`, {
    signal: AbortSignal.timeout(4_000),
  });
  if (!answer.ok) process.stdout.write(`${answer.status} ${await answer.text()}\n`);
  process.exitCode = answer.ok ? 0 : 1;
} catch (error) {
  process.stdout.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
