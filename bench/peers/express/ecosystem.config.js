// PM2's cluster mode, with its defaults.
"use strict";

module.exports = {
  apps: [
    {
      name: "bench",
      script: `${__dirname}/server.js`,
      instances: Number(process.env.PROCESSES),
      exec_mode: "cluster",
    },
  ],
};
