// Who is in a room. A person with three tabs is three connections and one person.

export class Members {
  constructor() {
    this.clear();
  }

  // Unknown is not the same as nobody: before the server told, or when it does not tell.
  clear() {
    this.known = false;
    this.users = new Map();
    this.counts = new Map();
    this.sorted = null;
  }

  replace(presence) {
    this.clear();
    this.known = true;
    for (const info of Object.values(presence)) this.add(info);
  }

  add({ client, user }) {
    if (!this.known || this.users.has(client)) return;
    this.users.set(client, user);
    this.counts.set(user, (this.counts.get(user) ?? 0) + 1);
    this.sorted = null;
  }

  remove({ client }) {
    if (!this.users.has(client)) return;
    const user = this.users.get(client);
    this.users.delete(client);
    const left = this.counts.get(user) - 1;
    if (left) this.counts.set(user, left);
    else this.counts.delete(user);
    this.sorted = null;
  }

  // The anonymous share the empty name: one of them being here says nothing of another.
  has(user) {
    return user !== '' && this.counts.has(user);
  }

  // By name; the same array until somebody comes or goes, so a view can see that nothing changed.
  people() {
    this.sorted ??= [...this.counts]
      .map(([user, connections]) => ({ user, connections }))
      .sort((a, b) => a.user.localeCompare(b.user));
    return this.sorted;
  }
}
