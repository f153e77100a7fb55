// Loaded before configurable-http-proxy, which stays as it is: what its TLS server does besides.
// - SIGHUP: it takes up the key and certificate of now; open connections go on with those of before.
// - What a client says of whom it speaks for (X-Forwarded-For and the like) is dropped, unless the client is one
//   of TRUSTED_PROXIES. The proxy then adds its own.
const { X509Certificate, createPrivateKey } = require("crypto");
const fs = require("fs");
const https = require("https");

const SAID_BY_PROXIES = /^(forwarded|x-forwarded-.*|x-real-ip|x-scheme)$/;
const trusted = new Set((process.env.TRUSTED_PROXIES || "").split(",").filter(Boolean));

function believeTheTrustedOnly(request) {
  if (trusted.has(request.socket.remoteAddress)) return;
  for (const name of Object.keys(request.headers)) if (SAID_BY_PROXIES.test(name)) delete request.headers[name];
}

const file = (option) => fs.readFileSync(process.argv[process.argv.indexOf(option) + 1]);

function takeUp(server, options) {
  try {
    const [key, cert] = [file("--ssl-key"), file("--ssl-cert")];
    // OpenSSL does not mind where they are of different kinds, and then serves nobody.
    if (!new X509Certificate(cert).checkPrivateKey(createPrivateKey(key))) throw new Error("they don't fit each other");
    server.setSecureContext({ ...options, key, cert });
    console.warn("proxy: took up the key and certificate of now");
  } catch (error) {
    console.error(`proxy: kept the key and certificate of before: ${error.message}`);
  }
}

const { createServer } = https;
https.createServer = (options, listener) => {
  const server = createServer(options);
  server.on("request", believeTheTrustedOnly);
  server.on("upgrade", believeTheTrustedOnly);
  server.on("request", listener);
  process.on("SIGHUP", () => takeUp(server, options));
  return server;
};
