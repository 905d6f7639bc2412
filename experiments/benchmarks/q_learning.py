"""How many environment steps per second does Q-learning take, in jaxmom and elsewhere?

Tabular Q-learning with lazy momentum and epsilon-greedy actions on FrozenLake-v1 and Taxi-v4, all
in one run: a loop over Gymnasium with NumPy; the same over tables in pure Python; NumPy over 1,000
lanes; gymnax with a table in JAX; C (``gcc -O3 -march=native``, lane after lane, one core); and
sweeps of `jaxmom.rl.q_learning`, with JAX's random numbers and with xoshiro128++, in both of its
rules. Numbers are millions of steps per second over all lanes, the best of some rounds, without
compilation. Beside them is the same per second of CPU time, which counts where other processes use
the cores too.

Peers that are missing (gymnax, gcc) are left out. The two CPU devices are two cores of the same
machine; they are set before JAX starts.

Answer (2 shared cores of an AMD EPYC, jax 0.10.2): see `docs/q_learning.md`. One lane is slower
than pure Python; from ten lanes on JAX pays.
"""

import argparse
import ctypes
import importlib.util
import os
import pathlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

import jaxmom as jm

ENVIRONMENTS = {"lake": "FrozenLake-v1", "taxi": "Taxi-v4"}
ALPHA, BETA, GAMMA, EPSILON = 0.02, 0.5, 0.99, 0.1
WIDTH = 500  # lanes at a time: their tables fit a cache

C_SOURCE = r"""
#include <stdint.h>
#include <stdlib.h>
static inline uint32_t turn(uint32_t x, int k) { return (x << k) | (x >> (32 - k)); }
static inline uint32_t word(uint32_t *s) {
  uint32_t out = turn(s[0] + s[3], 7) + s[0], t = s[1] << 9;
  s[2] ^= s[0]; s[3] ^= s[1]; s[1] ^= s[2]; s[0] ^= s[3]; s[2] ^= t; s[3] = turn(s[3], 11);
  return out;
}
float lanes(int n, int steps, int S, int A, int M, int limit, int starts, const int32_t *packed,
            const float *reward, const int32_t *start, float alpha, float beta, float gamma,
            float epsilon) {
  float sum = 0;
  float *q = malloc(sizeof(float) * S * A), *v = malloc(sizeof(float) * S * A);
  for (int lane = 0; lane < n; lane++) {
    uint32_t r[4] = {lane + 1, 2, 3, 4};
    for (int i = 0; i < S * A; i++) q[i] = v[i] = 0;
    int s = start[0], elapsed = 0;
    for (int t = 0; t < steps; t++) {
      uint32_t w = word(r);
      float u = (w >> 8) * 0x1p-24f;
      int a = 0;
      if (u < epsilon) a = (int)(u / epsilon * A);
      else {
        float best = q[s * A]; int ties = 1;
        for (int i = 1; i < A; i++) {
          float x = q[s * A + i];
          if (x > best) best = x, ties = 1; else ties += x == best;
        }
        int rank = (int)((u - epsilon) / (1 - epsilon) * ties);
        for (int i = 0; i < A; i++) if (q[s * A + i] == best && rank-- == 0) { a = i; break; }
      }
      int at = (s * A + a) * M + (M > 1 ? (int)(((uint64_t)word(r) * M) >> 32) : 0);
      int next = packed[at] & 0x3fffffff, over = packed[at] >> 30;
      float best = q[next * A];
      for (int i = 1; i < A; i++) best = q[next * A + i] > best ? q[next * A + i] : best;
      int e = s * A + a;
      v[e] = beta * v[e] + alpha * (reward[at] + (over ? 0 : gamma * best) - q[e]);
      q[e] += v[e];
      s = next;
      if (over || ++elapsed >= limit) {
        elapsed = 0;
        s = start[starts > 1 ? (int)(((uint64_t)word(r) * starts) >> 32) : 0];
      }
    }
    sum += q[0];
  }
  free(q); free(v);
  return sum;
}
"""


def take_best(times: list[tuple[float, float]]) -> tuple[float, float]:
    """Return the least seconds, and the least seconds of CPU time."""
    wall, cpu = zip(*times, strict=True)
    return min(wall), min(cpu)


def measure(call: Callable[[], Any], rounds: int) -> tuple[float, float]:
    """Return the seconds of a call, and of CPU time: the best after a first call."""
    call()
    times = []
    for _ in range(rounds):
        start = time.perf_counter(), time.process_time()
        call()
        times.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    return take_best(times)


def print_speed(label: str, steps: int, times: tuple[float, float]) -> None:
    """Print millions of steps per second, and per second of CPU time."""
    speeds = "".join(f"{steps / seconds / 1e6:10.3f}" for seconds in times)
    print(f"  {label:48s} {speeds}", flush=True)


def measure_sweep(
    mdp: Any, lanes: int, steps: int, rule: Any, rng: str, devices: Any, rounds: int
) -> tuple[float, float]:
    """Return the seconds of a sweep, and of CPU time: the best, without compilation."""
    width = min(-(-lanes // len(devices)), WIDTH)

    def time_sweep(lanes: int, steps: int) -> tuple[float, float]:
        def final(beta, seed):
            key = jax.random.key(seed)
            run = jm.rl.q_learning(mdp, rule(ALPHA, beta), key, steps=steps, rng=rng)
            return {"largest": run.max_abs_q[-1], "reward": run.reward[-1]}

        space, start = jm.grid(beta=[BETA], seed=range(lanes)), time.process_time()
        runs = jm.sweep(final, space, width=width, devices=devices, progress=False).attrs
        return runs["seconds"] - runs["compile_seconds"], time.process_time() - start

    # One chunk of a few steps measures the CPU time of everything but the steps.
    _, compiling = take_best([time_sweep(width * len(devices), 16) for _ in range(rounds)])
    wall, cpu = take_best([time_sweep(lanes, steps) for _ in range(rounds)])
    return wall, cpu - compiling


def make_gymnasium_loop(name: str, steps: int) -> Callable[[], Any]:
    """Return one run over Gymnasium's own interface."""
    import gymnasium

    env = gymnasium.make(name)

    def run():
        random = np.random.default_rng(0)
        q = np.zeros((env.observation_space.n, env.action_space.n))
        v = np.zeros_like(q)
        state, _ = env.reset(seed=0)
        for _ in range(steps):
            best = np.flatnonzero(q[state] == q[state].max())
            explores = random.random() < EPSILON
            action = int(random.integers(q.shape[1]) if explores else random.choice(best))
            next_state, reward, terminated, truncated, _ = env.step(action)
            target = reward + (0.0 if terminated else GAMMA * q[next_state].max())
            v[state, action] = BETA * v[state, action] + ALPHA * (target - q[state, action])
            q[state, action] += v[state, action]
            state = env.reset()[0] if terminated or truncated else next_state

    return run


def make_python_loop(mdp: Any, steps: int) -> Callable[[], Any]:
    """Return one run over lists, in pure Python."""
    import random

    arrays = (mdp.next_state, mdp.reward, mdp.terminated)
    next_state, rewards, ends = (array.tolist() for array in arrays)
    starts = np.flatnonzero(mdp.start).tolist()
    actions, branches = mdp.actions, int((mdp.probability[0, 0] > 0).sum())

    def run():
        q = [[0.0] * actions for _ in range(mdp.states)]
        v = [[0.0] * actions for _ in range(mdp.states)]
        state, elapsed, uniform = starts[0], 0, random.random
        for _ in range(steps):
            row = q[state]
            if uniform() < EPSILON:
                a = int(uniform() * actions)
            else:
                best = max(row)
                ties = [i for i, x in enumerate(row) if x == best]
                a = ties[int(uniform() * len(ties))]
            k = int(uniform() * branches) if branches > 1 else 0
            later, over = next_state[state][a][k], ends[state][a][k]
            target = rewards[state][a][k] + (0.0 if over else GAMMA * max(q[later]))
            v[state][a] = BETA * v[state][a] + ALPHA * (target - row[a])
            row[a] += v[state][a]
            elapsed += 1
            state = later
            if over or elapsed >= mdp.time_limit:
                state, elapsed = starts[int(uniform() * len(starts))], 0

    return run


def make_numpy_lanes(mdp: Any, lanes: int, steps: int) -> Callable[[], Any]:
    """Return a run of all lanes at once in NumPy."""
    starts = np.flatnonzero(mdp.start)
    branches = int((mdp.probability[0, 0] > 0).sum())

    def run():
        random, lane = np.random.default_rng(0), np.arange(lanes)
        q = np.zeros((lanes, mdp.states, mdp.actions), np.float32)
        v = np.zeros_like(q)
        state, elapsed = starts[random.integers(len(starts), size=lanes)], np.zeros(lanes, int)
        for _ in range(steps):
            row = q[lane, state]
            noise = random.random(row.shape, np.float32)
            greedy = np.where(row == row.max(1, keepdims=True), noise, -1.0).argmax(1)
            explores = random.random(lanes) < EPSILON
            a = np.where(explores, random.integers(mdp.actions, size=lanes), greedy)
            k = random.integers(branches, size=lanes)
            later, over = mdp.next_state[state, a, k], mdp.terminated[state, a, k]
            best = np.where(over, 0, q[lane, later].max(1))
            moved = BETA * v[lane, state, a] + ALPHA * (
                mdp.reward[state, a, k] + GAMMA * best - q[lane, state, a]
            )
            v[lane, state, a] = moved
            q[lane, state, a] += moved
            elapsed += 1
            reset = over | (elapsed >= mdp.time_limit)
            state = np.where(reset, starts[random.integers(len(starts), size=lanes)], later)
            elapsed[reset] = 0

    return run


def make_gymnax_lanes(lanes: int, steps: int) -> Callable[[], Any]:
    """Return runs over the frozen lake of gymnax with a table, vmapped; it resets by itself."""
    import gymnax

    env, params = gymnax.make("FrozenLake-misc")

    def run(key):
        reset_key, key = jax.random.split(key)
        observation, state = env.reset(reset_key, params)

        def one(carry, key):
            q, v, observation, state = carry
            step_key, explore_key, tie_key, action_key = jax.random.split(key, 4)
            row = q[observation]
            noise = jax.random.uniform(tie_key, row.shape)
            greedy = jnp.argmax(jnp.where(row == row.max(), noise, -1.0))
            explores = jax.random.uniform(explore_key) < EPSILON
            a = jnp.where(explores, jax.random.randint(action_key, (), 0, 4), greedy)
            later, state, reward, *_ends = env.step(step_key, state, a, params)
            over = _ends[0]
            target = reward + jnp.where(over, 0.0, GAMMA * q[later].max())
            moved = BETA * v[observation, a] + ALPHA * (target - q[observation, a])
            q = q.at[observation, a].add(moved)
            return (q, v.at[observation, a].set(moved), later, state), None

        q = jnp.zeros((16, 4))
        carry = (q, q, observation, state)
        return jax.lax.scan(one, carry, jax.random.split(key, steps))[0][0].max()

    compiled = jax.jit(jax.vmap(run))
    keys = jax.random.split(jax.random.key(0), lanes)
    return lambda: jax.block_until_ready(compiled(keys))


def make_c_lanes(mdp: Any, lanes: int, steps: int) -> Callable[[], Any]:
    """Return the same loop in C on one core."""
    folder = pathlib.Path(tempfile.mkdtemp())
    (folder / "q.c").write_text(C_SOURCE)
    command = ["gcc", "-O3", "-march=native", "-shared", "-fPIC", "-o", "q.so", "q.c"]
    subprocess.run(command, cwd=folder, check=True)
    library = ctypes.CDLL(str(folder / "q.so"))
    shutil.rmtree(folder)
    library.lanes.restype = ctypes.c_float
    slots = int((mdp.probability[0, 0] > 0).sum())
    order = np.minimum(np.arange(slots), (mdp.probability > 0).sum(-1, keepdims=True) - 1)
    packed, reward = (
        np.ascontiguousarray(np.take_along_axis(array, order, -1), dtype)
        for array, dtype in (
            (mdp.next_state | mdp.terminated.astype(np.int32) << 30, np.int32),
            (mdp.reward, np.float32),
        )
    )
    starts = np.flatnonzero(mdp.start).astype(np.int32)
    sizes = (lanes, steps, mdp.states, mdp.actions, slots, mdp.time_limit, len(starts))
    arrays = tuple(x.ctypes.data_as(ctypes.c_void_p) for x in (packed, reward, starts))
    numbers = tuple(map(ctypes.c_float, (ALPHA, BETA, GAMMA, EPSILON)))
    return lambda: (library.lanes(*sizes, *arrays, *numbers), packed, reward, starts)


def list_peers(name: str, mdp: Any, quick: int) -> dict[str, tuple[Callable[[], Any], int]]:
    """Return the other implementations by name: a call, and the steps that it takes."""
    calls = {
        "pure Python, 1 lane": (make_python_loop(mdp, 100_000 // quick), 100_000 // quick),
        "NumPy, 1,000 lanes": (make_numpy_lanes(mdp, 1000, 300 // quick), 300_000 // quick),
    }
    n = 10_000 // quick
    calls["Gymnasium + NumPy, 1 lane"] = make_gymnasium_loop(ENVIRONMENTS[name], n), n
    if name == "lake" and importlib.util.find_spec("gymnax"):
        calls["gymnax, 1,000 lanes"] = make_gymnax_lanes(1000, 1000 // quick), 1_000_000 // quick
    if shutil.which("gcc"):
        calls["C, 1,000 lanes, 1 core"] = make_c_lanes(mdp, 1000, 10_000 // quick), 10**7 // quick
    return calls


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="rounds to take the best of")
    parser.add_argument("--most", type=int, default=100_000, help="lanes at most")
    parser.add_argument("--steps", type=int, default=50_000_000, help="of all lanes together")
    parser.add_argument("--least", type=int, default=2000, help="steps of a lane, however many")
    parser.add_argument("--quick", type=int, default=1, help="divide the work of the others by it")
    options = parser.parse_args()
    if "JAX_NUM_CPU_DEVICES" not in os.environ:
        jax.config.update("jax_num_cpu_devices", 2)
    print(f"{len(jax.devices())} x {jax.devices()[0].device_kind}, jax {jax.__version__}")
    for name, environment in ENVIRONMENTS.items():
        mdp = jm.rl.from_gymnasium(environment)
        print(f"\n{environment + ': million steps per':44s}   second   cpu second")
        for label, (call, steps) in tqdm(list_peers(name, mdp, options.quick).items(), leave=False):
            print_speed(label, steps, measure(call, options.rounds))
        for lanes in (1, 100, 1000, 10_000, 100_000):
            if lanes > options.most:
                continue
            # Few lanes take their time, and many need enough steps to be more than overhead.
            steps = max(options.steps // max(lanes, 100), options.least) // 16 * 16
            for rule, rng, count in (
                (jm.rl.lazy_momentum, "threefry", 1),
                (jm.rl.lazy_momentum, "xoshiro", 1),
                (jm.rl.dense_momentum, "xoshiro", 1),
                (jm.rl.lazy_momentum, "threefry", 2),
                (jm.rl.lazy_momentum, "xoshiro", 2),
            ):
                if count > min(lanes, len(jax.devices())):
                    continue
                devices = jax.devices()[:count]
                label = f"{rule.__name__}, {rng}, {lanes:,} lanes, {count} device(s)"
                times = measure_sweep(mdp, lanes, steps, rule, rng, devices, options.rounds)
                print_speed(label, lanes * steps, times)


if __name__ == "__main__":
    main()
