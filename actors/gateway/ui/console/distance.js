// How far a server is, by STUN: the browser gathers candidates and asks it for its own address on
// the way (RFC 8445, section 5.1.1.2).

const TRIES = 3;
const DEADLINE_MS = 2_000;

/** Returns the round trip to the nearest of `urls` in milliseconds; nothing when none answers. */
export async function roundTrip(urls) {
  let least;
  for (let nth = 0; nth < TRIES; nth += 1) {
    const took = await gather(urls);
    if (took === undefined) break;
    least = Math.min(least ?? took, took);
  }
  return least;
}

function gather(urls) {
  const peer = new RTCPeerConnection({ iceServers: [{ urls }] });
  return new Promise((done) => {
    // The question is sent when there is a port of the browser's own to ask from.
    let [asked, refused] = [performance.now(), false];
    const took = () => performance.now() - asked;
    peer.onicecandidate = ({ candidate }) => {
      if (candidate?.type === "host") asked = performance.now();
      else if (candidate?.type === "srflx") done(took());
    };
    peer.onicecandidateerror = () => (refused = true);
    // An answer that names an address of the browser's own is told as the end alone.
    peer.onicegatheringstatechange = () =>
      peer.iceGatheringState === "complete" && done(refused ? undefined : took());
    setTimeout(done, DEADLINE_MS);
    peer.createDataChannel("");
    peer.setLocalDescription().catch(() => done());
  }).finally(() => peer.close());
}
