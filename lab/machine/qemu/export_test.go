package qemu

// Settle waits until no machine is being restored ahead any more.
func (d *Driver) Settle() {
	d.mu.Lock()
	queues := make([]*queue, 0, len(d.ahead))
	for _, q := range d.ahead {
		queues = append(queues, q)
	}
	d.mu.Unlock()
	for _, q := range queues {
		q.work.Wait()
	}
}
