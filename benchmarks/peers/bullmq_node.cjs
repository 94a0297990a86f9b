// BullMQ on Node and Redis, with ioredis: answers what contract.py says, and is its own worker.
// Tuned: 100 jobs at once. Its default is 1.
const { Queue, Worker } = require("bullmq");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");

const address = new URL(process.env.BENCH_URL);
const connection = { host: address.hostname, port: Number(address.port) };
const names = process.env.BENCH_QUEUES.split(",");
const marks = process.env.BENCH_MARKS;
const EMAIL = "user@example.com";
const BULK_CALL_JOBS = 500;
const CALLERS = 100;

function nowNs() {
  return BigInt(Math.round((performance.timeOrigin + performance.now()) * 1e6));
}

let seen = false;

function noteStart(argument) {
  if (argument.ns !== undefined) {
    fs.appendFileSync(path.join(marks, "latency"), `${nowNs() - BigInt(argument.ns)}\n`);
  } else if (!seen) {
    seen = true;
    fs.writeFileSync(path.join(marks, "first.new"), String(nowNs()));
    fs.renameSync(path.join(marks, "first.new"), path.join(marks, "first"));
  }
  return argument.id;
}

function work() {
  const concurrency = process.env.BENCH_VARIANT === "default" ? 1 : 100;
  for (const name of names) {
    new Worker(name, async (job) => noteStart(job.data), { connection, concurrency });
  }
}

function processAgeS() {
  const fields = fs.readFileSync("/proc/self/stat", "utf8").split(") ")[1].split(" ");
  return os.uptime() - Number(fields[19]) / 100;
}

function jobs(count) {
  return Array.from({ length: count }, (_, id) => ({ id, email: EMAIL }));
}

async function timed(count, body) {
  const started = performance.now();
  await body();
  return { seconds: (performance.now() - started) / 1000, count };
}

async function gathered(add, count, callers) {
  await add({ id: -1, email: EMAIL });
  const every = jobs(count);
  async function caller(first) {
    for (let at = first; at < count; at += callers) await add(every[at]);
  }
  return timed(count, () => Promise.all(Array.from({ length: callers }, (_, at) => caller(at))));
}

const actions = {
  enqueue: async () => ({ absent: true }),
  aenqueue: ({ add }, count) => gathered(add, count, 1),
  gather: ({ add }, count) => gathered(add, count, CALLERS),
  bulk: ({ queues }, count) => {
    const every = jobs(count).map((data) => ({ name: "noop", data }));
    return timed(count, async () => {
      for (let at = 0; at < count; at += BULK_CALL_JOBS) {
        const batch = every.slice(at, at + BULK_CALL_JOBS);
        for (const [number, queue] of queues.entries()) {
          const mine = batch.filter((job) => job.data.id % queues.length === number);
          if (mine.length > 0) await queue.addBulk(mine);
        }
      }
    });
  },
  produce: async ({ add }, count) => {
    for (let id = 1; id <= count; id += 1) {
      await new Promise((done) => setTimeout(done, 20));
      await add({ id, email: EMAIL, ns: String(nowNs()) });
    }
    return { count };
  },
  first: async ({ add }) => {
    await add({ id: 1, email: EMAIL });
    return { seconds: processAgeS() };
  },
};

async function main() {
  const [action, ...options] = process.argv.slice(2);
  if (action === "worker") return work();
  const at = options.indexOf("--count");
  const count = at < 0 ? 1 : Number(options[at + 1]);
  const queues = names.map((name) => new Queue(name, { connection }));
  const add = (data) => queues[Math.max(data.id, 0) % queues.length].add("noop", data);
  const answer = await actions[action]({ queues, add }, count);
  console.log(JSON.stringify(answer));
  await Promise.all(queues.map((queue) => queue.close()));
}

main();
