import { expect, test } from "bun:test";
import { isVariableName, makeDockerOptions } from "./docker-options.ts";

/** What flannel writes for 10.1.74.0/24 on 1500 bytes, masquerading. */
const SUBNET = {
  FLANNEL_NETWORK: "10.1.0.0/16",
  FLANNEL_SUBNET: "10.1.74.1/24",
  FLANNEL_MTU: "1472",
  FLANNEL_IPMASQ: "true",
};
const BOTH = { individual: true, combined: true, key: "DOCKER_OPTS", masquerade: true };

function made(variables: Record<string, string>, options: Partial<typeof BOTH> = {}): string {
  const request = { ...BOTH, ...options, variables: new Map(Object.entries(variables)) };
  const result = makeDockerOptions(request);
  return result.ok ? result.value : `error: ${result.error}`;
}

/** Expected bytes are what the script of flannel v0.28.9 wrote under dash for the same input. */
const CASES: readonly {
  variables: Record<string, string>;
  options?: Partial<typeof BOTH>;
  text: string;
  why: string;
}[] = [
  {
    variables: SUBNET,
    text: `DOCKER_OPT_BIP="--bip=10.1.74.1/24"
DOCKER_OPT_IPMASQ="--ip-masq=false"
DOCKER_OPT_MTU="--mtu=1472"
DOCKER_OPTS=" --bip=10.1.74.1/24 --ip-masq=false --mtu=1472"
`,
    why: "all three, alone and together",
  },
  {
    variables: SUBNET,
    options: { combined: false },
    text: `DOCKER_OPT_BIP="--bip=10.1.74.1/24"
DOCKER_OPT_IPMASQ="--ip-masq=false"
DOCKER_OPT_MTU="--mtu=1472"
`,
    why: "-i",
  },
  {
    variables: SUBNET,
    options: { individual: false, key: "DOCKER_NETWORK_OPTIONS" },
    text: `DOCKER_NETWORK_OPTIONS=" --bip=10.1.74.1/24 --ip-masq=false --mtu=1472"\n`,
    why: "-c and -k",
  },
  {
    variables: SUBNET,
    options: { individual: false, masquerade: false },
    text: `DOCKER_OPTS=" --bip=10.1.74.1/24 --mtu=1472"\n`,
    why: "-m",
  },
  {
    variables: { ...SUBNET, FLANNEL_IPMASQ: "false" },
    options: { individual: false },
    text: `DOCKER_OPTS=" --bip=10.1.74.1/24 --ip-masq=true --mtu=1472"\n`,
    why: "Docker masquerades when we do not",
  },
  { variables: {}, text: `DOCKER_OPTS=""\n`, why: "no subnet yet" },
  {
    variables: { ...SUBNET, DOCKER_OPTS: "--debug" },
    options: { individual: false },
    text: `DOCKER_OPTS="--debug  --bip=10.1.74.1/24 --ip-masq=false --mtu=1472"\n`,
    why: "what the variable held stays in front, with flannel's two blanks",
  },
  {
    variables: { FLANNEL_MTU: "1450", DOCKER_OPT_ZONE: "--label=a", DOCKER_OPT_A: "" },
    text: `DOCKER_OPT_A=""
DOCKER_OPT_MTU="--mtu=1450"
DOCKER_OPT_ZONE="--label=a"
DOCKER_OPTS="  --mtu=1450 --label=a"
`,
    why: "options of others, in order of their names",
  },
  {
    variables: { FLANNEL_SUBNET: "", DOCKER_OPT_BIP: "--bip=10.9.9.1/24" },
    options: { individual: false },
    text: `DOCKER_OPTS=" --bip=10.9.9.1/24"\n`,
    why: "an empty variable is none",
  },
  {
    variables: { ...SUBNET, FLANNEL_IPMASQ: "yes" },
    text: 'error: FLANNEL_IPMASQ is "yes", and must be true or false',
    why: "neither true nor false",
  },
];

for (const { variables, options, text, why } of CASES) {
  test(`makeDockerOptions: ${why}`, () => expect(made(variables, options)).toBe(text));
}

test("isVariableName: what a shell takes", () => {
  for (const name of ["A", "_a1", "DOCKER_NETWORK_OPTIONS"])
    expect(isVariableName(name)).toBe(true);
  for (const name of ["", "1A", "A-B", "A B", "A;id", "$A"]) {
    expect(isVariableName(name)).toBe(false);
  }
});
