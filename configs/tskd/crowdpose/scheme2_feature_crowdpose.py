# Scheme 2 of Table IV: the features alone (Eq. 1).
_base_ = ['tskd-stage1_simcc_hrnet-w48-to-w32_4xb32-210e_crowdpose-256x192.py']

model = dict(distill_losses=dict(loss_pose=None, loss_structure=None))
