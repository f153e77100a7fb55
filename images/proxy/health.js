// Health command: does the public port answer? (It cannot see missing routes; the hub's route refresher does.)
// The certificate is not verified: it is our own, asked for over the loopback.
const request = require("https").get(
  { host: "127.0.0.1", port: 8000, path: "/_chp_healthz", rejectUnauthorized: false, timeout: 3000 },
  (response) => process.exit(response.statusCode === 200 ? 0 : 1),
);
request.on("timeout", () => process.exit(1));
request.on("error", () => process.exit(1));
