# The teacher of the LSPET experiments, trained for long enough to have twice the AP.
_base_ = ['simcc_hrnet-w32-small_12e_lspet-128x96.py']

# runtime
max_epochs = 40
train_cfg = dict(max_epochs=max_epochs, val_interval=5)

optim_wrapper = dict(optimizer=dict(weight_decay=0.05))

param_scheduler = [
    dict(type='LinearLR', begin=0, end=200, start_factor=0.001, by_epoch=False),  # warm-up
    dict(type='CosineAnnealingLR', T_max=max_epochs, eta_min=3e-5, by_epoch=True, convert_to_iter_based=True),
]
